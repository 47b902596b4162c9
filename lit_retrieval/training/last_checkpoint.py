"""The checkpoints from which a run resumes."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, Timer

from lit_retrieval.errors import UserError
from lit_retrieval.lightning_internals import is_between_steps, repair_progress, set_logged_step
from lit_retrieval.ranges import check_numbers
from lit_retrieval.runs import RunFolder, after_steps


class LastCheckpoint(Checkpoint):
    """Keeps the newest checkpoints from validations and the end of training.

    Checkpoints are written between two optimizer steps, so they hold all that a run needs to resume, and no accumulated
    gradients are lost. One more is written before the step that the first validation follows, so that an error in
    validation costs only this step.

    The callback also adds a validation after the last step, and lets a time limit end the run between two steps. The
    validation at a time limit is extra: the checkpoint is written before it, so that the resumed run equals one without
    the limit.

    Args:
        keep: Number of checkpoints to keep; if the newest is damaged, the run resumes from the one before.
        every_n_steps: Optimizer steps between additional checkpoints; none if absent.

    Attributes:
        is_extra: Whether the current validation runs only because of a time limit.
    """

    def __init__(self, keep: int = 2, every_n_steps: int | None = None) -> None:
        check_numbers("last_checkpoint", keep=(keep, 1))
        if every_n_steps is not None:
            check_numbers("last_checkpoint", every_n_steps=(every_n_steps, 1))
        self.keep = keep
        self.every_n_steps = every_n_steps
        self.is_extra = False
        self._is_due = False
        self._is_validating = False
        self._is_finished = False
        self._is_out_of_time = False
        self._stops_after_step = False
        self._saved_step = -1
        self._has_validated = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Raise `UserError` if a validation would start inside an optimizer step."""
        interval, accumulated = trainer.val_check_interval, trainer.accumulate_grad_batches
        if stage == "fit" and isinstance(interval, int) and interval % accumulated:
            raise UserError(
                f"trainer.val_check_interval must be a multiple of trainer.accumulate_grad_batches={accumulated}, got "
                f"{interval}; write {max(1, interval // accumulated) * accumulated}"
            )

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let `validate` and `test` log under the step of the checkpoint."""
        set_logged_step(trainer, checkpoint["global_step"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Store the step at which training starts."""
        self._saved_step = trainer.global_step
        self._has_validated = self._stops_after_step = self._is_out_of_time = self.is_extra = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Write a checkpoint if one is due and the last optimizer step is complete."""
        step = trainer.global_step
        set_logged_step(trainer, step)
        is_new = self.every_n_steps is not None and step % self.every_n_steps == 0
        is_new |= step > 0 and not self._has_validated and _ends_with_validation(trainer)
        if is_between_steps(trainer) and (self._is_due or (is_new and step != self._saved_step)):
            self.save(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after the last step, and never inside one; Lightning validates where training stops."""
        is_last = is_last_step(trainer)
        self._stops_after_step |= trainer.should_stop or is_last
        is_complete = is_last or (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        trainer.should_stop = self._stops_after_step and is_complete
        if trainer.should_stop and not is_last:
            is_over = any((timer.time_remaining() or 0) <= 0 for timer in _timers(trainer))
            self._is_out_of_time = trainer.strategy.broadcast(is_over)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the validation under the step before it; if it is extra, write the checkpoint before it."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        set_logged_step(trainer, trainer.global_step - 1)
        interval = trainer.val_check_interval
        batches = trainer.fit_loop.total_batch_idx + 1
        self.is_extra = self._is_out_of_time and not (isinstance(interval, int) and batches % interval == 0)
        self._is_validating = not self.is_extra
        self._has_validated = True
        if self.is_extra:
            self.save(trainer)
        trainer.should_stop = False  # so that `on_validation_end` sees whether this validation has ended the run

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mark a checkpoint as due."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        self._is_due, self._is_validating = not self.is_extra, False
        self._is_out_of_time &= self.is_extra or not trainer.should_stop
        trainer.should_stop |= self._stops_after_step

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last checkpoint; it marks the run as finished unless a time limit ended it."""
        self._is_finished = not self._is_out_of_time
        if not self.is_extra:
            self.save(trainer)
        if self._is_out_of_time and trainer.is_global_zero:
            print(f"stopped by the time limit {after_steps(trainer.global_step)}; the same command resumes it")

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Store whether the run is finished, which batches are done, and whether a validation must be repeated."""
        checkpoint["is_finished"] = self._is_finished
        for timer in _timers(trainer):  # a time limit is for one command
            checkpoint["callbacks"].pop(timer.state_key, None)
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


def is_last_step(trainer: Trainer) -> bool:
    """Whether training is complete, by its steps or by its epochs."""
    return trainer.global_step >= trainer.max_steps > 0 or (_is_in_last_epoch(trainer) and trainer.is_last_batch)


def _is_in_last_epoch(trainer: Trainer) -> bool:
    return trainer.current_epoch + 1 == trainer.max_epochs


def _ends_with_validation(trainer: Trainer) -> bool:
    """Whether a validation follows the optimizer step that is about to begin, unless a time limit stops it."""
    accumulated, interval = trainer.accumulate_grad_batches, trainer.val_check_interval
    batches, of_epoch = trainer.fit_loop.total_batch_idx + accumulated, trainer.fit_loop.batch_idx + accumulated
    is_due = (isinstance(interval, int) and batches % interval == 0) or trainer.global_step == trainer.max_steps - 1
    is_due |= _is_in_last_epoch(trainer) and of_epoch >= trainer.num_training_batches
    return is_due and trainer.limit_val_batches != 0


def _timers(trainer: Trainer) -> list[Timer]:
    """The callbacks with a time limit: that of `trainer.max_time`, and a user's own."""
    timers = [one for one in trainer.callbacks if isinstance(one, Timer)]  # type: ignore[attr-defined]
    return [timer for timer in timers if timer.time_remaining() is not None]
