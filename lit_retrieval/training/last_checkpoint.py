"""The checkpoints from which a run resumes."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from lit_retrieval.errors import UserError
from lit_retrieval.lightning_internals import is_between_steps, repair_progress, set_logged_step
from lit_retrieval.ranges import check_numbers
from lit_retrieval.runs import RunFolder


class LastCheckpoint(Checkpoint):
    """Keeps the newest checkpoints, from each validation and the end of training.

    Each is written between two optimizer steps, after a validation that is due: it holds all that a run needs to
    resume, and no accumulated gradients are lost.

    Args:
        keep: Number of checkpoints to keep; if the newest is damaged, the run resumes from the one before.
        every_n_steps: Optimizer steps between further checkpoints; none if absent.
    """

    def __init__(self, keep: int = 2, every_n_steps: int | None = None) -> None:
        check_numbers("last_checkpoint", keep=(keep, 1))
        if every_n_steps is not None:
            check_numbers("last_checkpoint", every_n_steps=(every_n_steps, 1))
        self.keep = keep
        self.every_n_steps = every_n_steps
        self._is_due = False
        self._is_validating = False
        self._is_finished = False
        self._saved_step = -1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Raise `UserError` if a validation would start inside an optimizer step."""
        interval, accumulated = trainer.val_check_interval, trainer.accumulate_grad_batches
        if stage == "fit" and isinstance(interval, int) and interval % accumulated:
            raise UserError(
                f"trainer.val_check_interval must be a multiple of trainer.accumulate_grad_batches={accumulated}, got "
                f"{interval}; write {max(1, interval // accumulated) * accumulated}"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Store the step at which training starts."""
        self._saved_step = trainer.global_step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Write a checkpoint if one is due and the last optimizer step is complete."""
        step = trainer.global_step
        set_logged_step(trainer, step)
        is_new = self.every_n_steps is not None and step % self.every_n_steps == 0 and step != self._saved_step
        if is_between_steps(trainer) and (self._is_due or is_new):
            self.save(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the validation under the step before it."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._is_validating = True
            set_logged_step(trainer, trainer.global_step - 1)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make a checkpoint due."""
        self._is_due, self._is_validating = True, False

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last checkpoint, which marks the run as finished."""
        self._is_finished = True
        self.save(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Store whether the run is finished, which batches are done, and whether a validation must be repeated."""
        checkpoint["is_finished"] = self._is_finished
        repair_progress(checkpoint, self._is_validating)

    def save(self, trainer: Trainer) -> Path:
        """Write a checkpoint, between two optimizer steps, and remove old ones."""
        folder = RunFolder(Path(trainer.default_root_dir))
        path = folder.step_file(trainer.global_step)
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(path, weights_only=False)
            if trainer.is_global_zero:
                folder.prune(trainer.global_step, self.keep)
        self._is_due, self._saved_step = False, trainer.global_step
        return path
