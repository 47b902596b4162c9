"""What we use of Lightning's training loop beyond its interface; see tests/test_private_names.py."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import FSDPStrategy
from torch.distributed.fsdp import FullyShardedDataParallel

# Lightning repeats an interrupted validation from its first sample if its loop has begun one batch, and no more.
_BEGUN = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
_UNTOUCHED = {"ready": 0, "started": 0, "processed": 0, "completed": 0}


def batches_trained(trainer: Trainer) -> int:
    """Batches that have been trained on, in earlier parts of a resumed run too."""
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress.total
    return int(progress.processed)


def is_between_steps(trainer: Trainer) -> bool:
    """Whether all gradients have gone into an optimizer step."""
    batches = trainer.fit_loop.epoch_loop.batch_progress.current.completed
    return batches % trainer.accumulate_grad_batches == 0


def set_logged_step(trainer: Trainer, step: int) -> None:
    """Log under this step from now on; Lightning's own count is one off after a resume between two validations."""
    trainer.fit_loop.epoch_loop._batches_that_stepped = step


def leave_out_signals(trainer: Trainer) -> None:
    """Keep the ranks from asking each other for signals before every batch, which is a collective and a wait."""
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


def repair_progress(checkpoint: dict[str, Any], is_validating: bool) -> None:
    """Make a checkpoint's loops fetch again what has only been fetched, and repeat a validation that is under way."""
    loops = checkpoint["loops"]["fit_loop"]
    for count in ("total", "current"):
        batches = loops["epoch_loop.batch_progress"][count]
        batches["ready"] = batches["completed"]
        loops["epoch_loop.val_loop.batch_progress"][count] = dict(_BEGUN if is_validating else _UNTOUCHED)


@contextmanager
def whole_parameters(trainer: Trainer) -> Iterator[None]:
    """Give every rank all parameters of the model, which FSDP spreads over them; all ranks must enter.

    Only a step has them otherwise: a callback that runs the model, or a part of it, on one rank does so in here.
    """
    if not isinstance(trainer.strategy, FSDPStrategy):
        yield
        return
    model: Any = trainer.strategy.model
    with FullyShardedDataParallel.summon_full_params(model, writeback=False):
        yield
