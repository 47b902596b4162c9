"""Range checks that Lightning does not make."""

from typing import Any

from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_at_least, check_between

# Minimum of each `trainer` number that Lightning does not check; tests/cli/test_ranges.py has the others.
LEAST = {
    "accumulate_grad_batches": 1, "check_val_every_n_epoch": 1, "fast_dev_run": 0, "gradient_clip_val": 0,
    "limit_train_batches": 1, "log_every_n_steps": 0, "max_epochs": 1, "max_steps": 1, "min_epochs": 0, "min_steps": 0,
    "num_nodes": 1, "num_sanity_val_steps": -1, "val_check_interval": 1,
}  # fmt: skip
_BATCHES_OF = {"validate": "limit_val_batches", "test": "limit_test_batches", "predict": "limit_predict_batches"}
_NO_LIMIT = -1
_MAY_HAVE_NO_LIMIT = {"max_epochs", "max_steps"}


def check_ranges(configuration: dict[str, Any]) -> None:
    """Raise `UserError` if a number in the configuration is out of range."""
    seed = configuration["seed_everything"]
    if isinstance(seed, bool):  # Lightning takes true for a random seed and false for none
        raise UserError(
            f"seed_everything must be a number, got {str(seed).lower()}: a run is found again by its configuration, so "
            "draw a random seed yourself; set seed_everything"
        )
    check_between("seed_everything", seed, 0, 2**32 - 1, "seed_everything")  # as in NumPy
    for name, least in LEAST.items():
        value = configuration["trainer"].get(name)
        is_no_limit = value == _NO_LIMIT and name in _MAY_HAVE_NO_LIMIT
        if isinstance(value, int | float) and not is_no_limit:
            check_at_least(name, value, least, f"trainer.{name}")


def check_has_end(subcommand: str, trainer: dict[str, Any]) -> None:
    """Raise `UserError` if `fit` would have no last step, at which the learning rate is zero."""
    steps, has_no_epochs = trainer.get("max_steps"), trainer.get("max_epochs") == _NO_LIMIT
    is_endless = steps == _NO_LIMIT and (has_no_epochs or trainer.get("limit_train_batches") is None)
    if subcommand == "fit" and is_endless and not trainer.get("fast_dev_run"):
        raise UserError(
            f"trainer.max_steps must be set, got {steps}: the stream of samples has no end; write a number of steps, "
            "or set trainer.limit_train_batches and trainer.max_epochs"
        )


def check_some_batches(subcommand: str, trainer: dict[str, Any]) -> None:
    """Raise `UserError` if `validate`, `test` or `predict` is to run on no batch; `fit` may do without validations."""
    key = _BATCHES_OF.get(subcommand)
    if key is not None and trainer.get(key) == 0 and not trainer.get("fast_dev_run"):
        raise UserError(f"{subcommand} has nothing to do, because trainer.{key} is 0; leave it out")
