"""Our uses of private names of Lightning and of DDP; see tests/test_private_names.py."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import FSDPStrategy
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.parallel import DistributedDataParallel

# With these counts Lightning repeats an interrupted validation from its first sample.
_BEGUN = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
_UNTOUCHED = {"ready": 0, "started": 0, "processed": 0, "completed": 0}


def batches_trained(trainer: Trainer) -> int:
    """Number of batches trained on, including those before a resume."""
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress.total
    return int(progress.processed)


def is_between_steps(trainer: Trainer) -> bool:
    """Whether all gradients have been used in an optimizer step."""
    batches = trainer.fit_loop.epoch_loop.batch_progress.current.completed
    return batches % trainer.accumulate_grad_batches == 0


def leave_out_constants(module: nn.Module) -> None:
    """Keep DDP from broadcasting the buffers of our layers and fla's before each step: they never change."""
    names = [
        f"{path}.{name}"
        for path, part in module.named_modules() if type(part).__module__.split(".")[0] in ("lit_retrieval", "fla")
        for name, _ in part.named_buffers(recurse=False)
    ]  # fmt: skip
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, names)  # type: ignore[no-untyped-call]


def set_logged_step(trainer: Trainer, step: int) -> None:
    """Log under this step from now on; Lightning's count is off by one after a resume between two validations."""
    trainer.fit_loop.epoch_loop._batches_that_stepped = step


def leave_out_signals(trainer: Trainer) -> None:
    """Switch off Lightning's exchange of signals before every batch, a collective that waits."""
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


def repair_progress(checkpoint: dict[str, Any], is_validating: bool) -> None:
    """Make a resumed run fetch batches again that were only prefetched, and repeat an interrupted validation."""
    loops = checkpoint["loops"]["fit_loop"]
    batches = loops["epoch_loop.batch_progress"]
    batches["is_last_batch"] &= batches["total"]["ready"] == batches["total"]["processed"]
    for count in ("total", "current"):
        batches[count] = dict.fromkeys(batches[count], batches[count]["processed"])
        loops["epoch_loop.val_loop.batch_progress"][count] = dict(_BEGUN if is_validating else _UNTOUCHED)


@contextmanager
def whole_parameters(trainer: Trainer) -> Iterator[None]:
    """Give every rank all parameters of the model, which FSDP shards; all ranks must enter.

    A callback that runs the model, or a part of it, outside of a step must do so in this block.
    """
    if not isinstance(trainer.strategy, FSDPStrategy):
        yield
        return
    model: Any = trainer.strategy.model
    with FullyShardedDataParallel.summon_full_params(model, writeback=False):
        yield
