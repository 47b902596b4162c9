"""Optimizers and learning-rate schedules: the default ones, or those named in a configuration."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from lit_retrieval.conformance import path_of
from lit_retrieval.errors import UserError, one_line
from lit_retrieval.training.schedule import warmup_cosine

_Built = TypeVar("_Built")
ParameterGroups = list[dict[str, Any]]


class OptimizerFactory(Protocol):
    """Makes an optimizer; in YAML, a class_path of torch.optim or of your own code."""

    def __call__(self, *, params: Any, lr: float) -> Optimizer:
        """Make the optimizer for parameter groups, with the peak learning rate."""
        ...


class SchedulerFactory(Protocol):
    """Makes a schedule, stepped every optimizer step; in YAML, a class_path of torch.optim.lr_scheduler or your own."""

    def __call__(self, *, optimizer: Optimizer) -> LRScheduler:
        """Make the schedule of an optimizer."""
        ...


def remember_matrices(module: nn.Module) -> None:
    """Mark the parameters that are matrices, before FSDP flattens them into shards of one dimension."""
    for parameter in module.parameters():
        parameter.is_matrix = parameter.ndim > 1  # type: ignore[attr-defined]


def parameter_groups(module: nn.Module, weight_decay: float) -> ParameterGroups:
    """Two groups of the trained parameters: matrices, with weight decay, and all others, without."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    matrices = [one for one in trained if getattr(one, "is_matrix", one.ndim > 1)]
    decayed = [one for one in matrices if not getattr(one, "_no_weight_decay", False)]
    others = [one for one in trained if all(one is not other for other in decayed)]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def make_optimizer(
    factory: OptimizerFactory | None, groups: ParameterGroups, learning_rate: float, is_fused: bool
) -> Optimizer:
    """Make the optimizer, AdamW by default; raises `UserError` if the factory fails or the optimizer can't be used.

    Args:
        factory: Makes another optimizer, which uses its own weight decay if the groups have none.
        groups: What `parameter_groups` returns.
        learning_rate: Peak learning rate.
        is_fused: Whether to fuse AdamW, unless parameters are complex; a fused one reads on the device whether to skip
            a step.
    """
    if factory is None:
        is_complex = any(one.is_complex() for group in groups for one in group["params"])
        return torch.optim.AdamW(groups, lr=learning_rate, fused=is_fused and not is_complex)
    decays = bool(groups[0]["weight_decay"])
    if not decays:
        groups = [{"params": [one for group in groups for one in group["params"]]}]
    optimizer = _build(partial(factory, params=groups, lr=learning_rate), "optimizer", "optimizer")
    if not isinstance(optimizer, Optimizer) or isinstance(optimizer, torch.optim.LBFGS):
        raise UserError(f"{path_of(optimizer)} can't take steps of batches; set another class in model.optimizer")
    if decays:
        usual, own = inspect.signature(type(optimizer)).parameters.get("weight_decay"), optimizer.defaults
        if "weight_decay" not in own:
            raise UserError(f"{path_of(optimizer)} has no weight decay; leave out model.weight_decay")
        if usual is not None and own["weight_decay"] != usual.default:
            raise UserError(f"{path_of(optimizer)} has one of its own in model.optimizer; leave out model.weight_decay")
    return optimizer


def make_scheduler(
    factory: SchedulerFactory | None, optimizer: Optimizer, warmup_steps: int, total_steps: int
) -> LRScheduler:
    """Make the schedule, by default a linear warm-up and a cosine to zero; raises `UserError` if the factory fails."""
    if factory is None:
        return LambdaLR(optimizer, lambda step: warmup_cosine(step, warmup_steps, total_steps))
    scheduler = _build(partial(factory, optimizer=optimizer), "schedule", "lr_scheduler")
    if isinstance(scheduler, ReduceLROnPlateau) or not isinstance(scheduler, LRScheduler):
        raise UserError(f"{path_of(scheduler)} does not move every step; set another class in model.lr_scheduler")
    return scheduler


def _build(factory: Callable[[], _Built], what: str, key: str) -> _Built:
    try:
        return factory()
    except UserError:
        raise
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"the {what} can't be built: {one_line(error)}; set model.{key}") from error


def skip_unless_finite(optimizer: Optimizer, bad_step: torch.Tensor, parameters: Sequence[nn.Parameter]) -> None:
    """Let an optimizer that is not fused skip a step with a NaN or infinite loss or gradient; waits for the device.

    A fused optimizer reads `found_inf` itself. Others skip because their gradients are removed.
    """
    if not optimizer.defaults.get("fused") and bool(bad_step > 0):
        for parameter in parameters:
            parameter.grad = None
