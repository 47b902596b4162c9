"""Replaces the learning rate and weight decay in a checkpoint by those of the command."""

from collections.abc import Iterator, Mapping
from typing import Any

from lit_retrieval.errors import UserError


def put_rates(content: dict[str, Any], model: Mapping[str, Any]) -> bool:
    """Write the command's rates into a checkpoint, because Lightning would restore the old ones.

    Args:
        content: The checkpoint's content; changed in place.
        model: The model's hyperparameters in the command.

    Returns:
        Whether the rates differ from the checkpoint's.

    Raises:
        UserError: If the optimizer or its schedule is of another class, so that its state can't be used.
    """
    before = content.get("hyper_parameters", {})
    for key in ("optimizer", "lr_scheduler"):
        if before.get(key) != model.get(key):
            raise UserError(
                f"model.{key} must be that of the checkpoint, whose state goes on; set it in a run without a checkpoint"
            )
    new, decay = model["learning_rate"], model["weight_decay"]
    old = before.get("learning_rate", new)
    if new and not old:
        raise UserError("model.learning_rate must be 0, as in the checkpoint: its states have no other rate")
    if model.get("optimizer") is not None and bool(decay) != bool(before.get("weight_decay", decay)):
        raise UserError(
            f"model.weight_decay must be {'above 0' if not decay else '0'}, as in the checkpoint, got {decay}: its "
            "optimizer has other groups of parameters"
        )
    ratio = new / old if old else 1.0
    for state in content.get("optimizer_states", []):
        groups = state["param_groups"]
        for group in groups:
            if group.get("initial_lr") == old:  # else it is the schedule's own
                group.update(lr=group["lr"] * ratio, initial_lr=new)
        if decay or model.get("optimizer") is None:  # without one another optimizer has its own
            groups[0]["weight_decay"] = decay
    for schedule in _schedules(content.get("lr_schedulers", [])):
        if set(schedule.get("base_lrs", ())) == {old}:
            schedule["base_lrs"] = [new] * len(schedule["base_lrs"])
            schedule["_last_lr"] = [rate * ratio for rate in schedule["_last_lr"]]
    return bool(new != old or decay != before.get("weight_decay", decay))


def _schedules(states: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The states of schedules, nested ones included."""
    for state in states:
        yield state
        yield from _schedules(state.get("_schedulers", []))
