"""Saves and ends a run on a signal."""

import signal
import threading
from types import FrameType
from typing import Any, cast

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import ParallelStrategy
from torch.optim import Optimizer

from lit_retrieval.errors import INTERRUPTED, PREEMPTED, RunEndedError
from lit_retrieval.lightning_internals import is_between_steps, leave_out_signals
from lit_retrieval.runs import after_steps
from lit_retrieval.training.last_checkpoint import LastCheckpoint, is_last_step
from lit_retrieval.training.sequence_module import SequenceModule

# Before its time limit SLURM sends SIGTERM and the signal in `#SBATCH --signal`; Ctrl-C sends SIGINT.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Preemption(Callback):
    """Saves and ends the run after SIGTERM, SIGUSR1 or Ctrl-C to any of its processes.

    The handler only stores the signal. All ranks save at the same step, because they share the signal in the sums of an
    optimizer step (`GlobalStep`), which are checked every few steps, and before each validation batch that all ranks
    have. An interrupted validation is repeated on resume; the one after the last step is completed.
    """

    def __init__(self) -> None:
        self._asked: signal.Signals | None = None
        self._handlers: dict[signal.Signals, Any] = {}
        self._shared_batches = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace Lightning's signal handlers, which wait for all ranks."""
        leave_out_signals(trainer)
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._note) for number in SIGNALS}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop between two steps if any rank received a signal before the last step."""
        assert isinstance(pl_module, SequenceModule)
        step = pl_module.whole_step
        if not is_between_steps(trainer):
            return
        if trainer.world_size == 1:
            _stop(trainer, self._asked)
        elif step.totals and step.is_looked_at:
            _stop(trainer, next((number for number in SIGNALS if step.totals[number.name] > 0), None))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Share this rank's signal with the other ranks."""
        assert isinstance(pl_module, SequenceModule)
        if trainer.world_size > 1:
            pl_module.whole_step.add(**{number.name: float(number == self._asked) for number in SIGNALS})

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the batches that all ranks have; on SIGTERM, the command `validate` ends at once."""
        if trainer.state.fn == "validate":
            _end_at_once()
        batches = torch.tensor(sum(cast("list[int]", trainer.num_val_batches)), device=pl_module.device)
        self._shared_batches = int(trainer.strategy.reduce(batches, reduce_op="min"))

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Stop inside a validation, unless it is the last one."""
        if self._handlers and batch_idx < self._shared_batches and not is_last_step(trainer):
            asked = torch.tensor(self._asked or 0, device=trainer.strategy.root_device)
            asked = trainer.strategy.reduce(asked, reduce_op="max") if trainer.world_size > 1 else asked
            _stop(trainer, signal.Signals(int(asked)) if asked else None)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End a test at once on SIGTERM."""
        _end_at_once()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End a prediction at once on SIGTERM."""
        _end_at_once()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the signal handlers."""
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the signal handlers."""
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._asked = signal.Signals(number)
        if self._asked == signal.SIGINT:  # a second Ctrl-C exits at once
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}


def _stop(trainer: Trainer, asked: signal.Signals | None) -> None:
    """Save the run and end it on all ranks, if a signal was received."""
    if asked is None:
        return
    (last,) = [one for one in trainer.checkpoint_callbacks if isinstance(one, LastCheckpoint)]
    path = last.save(trainer)
    raise RunEndedError(
        f"stopped by {asked.name} {after_steps(trainer.global_step)} and saved in {path}; the same command resumes it",
        0 if is_launched(trainer) else INTERRUPTED if asked == signal.SIGINT else PREEMPTED,
    )


def _end_at_once() -> None:
    """Restore the default action of SIGTERM, which Lightning replaces."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def is_launched(trainer: Trainer) -> bool:
    """Whether Lightning launched this process as another rank; if it fails, Lightning also kills the first one."""
    if not isinstance(trainer.strategy, ParallelStrategy):
        return False
    environment = trainer.strategy.cluster_environment
    return isinstance(environment, LightningEnvironment) and environment.local_rank() > 0
