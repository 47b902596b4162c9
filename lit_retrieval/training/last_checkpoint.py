"""The checkpoints to go on from."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from lit_retrieval.errors import UserError
from lit_retrieval.lightning_internals import is_between_steps, repair_progress, set_logged_step
from lit_retrieval.ranges import check_numbers
from lit_retrieval.runs import RunFolder


class LastCheckpoint(Checkpoint):
    """Keeps the newest checkpoints of a run, written after every validation and when training ends.

    They are written between two optimiser steps, when the validation that was due is over: everything that a run needs
    to go on is in the file, and gradients that are half accumulated are not, so nothing is lost.

    Args:
        keep: How many; an older one takes the place of a newer one that turns out to be damaged.
        every_n_steps: Write one after so many optimiser steps as well.
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
        """Refuse an interval of validations that ends between two optimiser steps."""
        interval, accumulated = trainer.val_check_interval, trainer.accumulate_grad_batches
        if stage == "fit" and isinstance(interval, int) and interval % accumulated:
            raise UserError(
                f"trainer.val_check_interval={interval} counts batches and is no multiple of "
                f"trainer.accumulate_grad_batches={accumulated}; write {max(1, interval // accumulated) * accumulated}"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take note of where training begins."""
        self._saved_step = trainer.global_step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Write a checkpoint if one is due and the last optimiser step is complete."""
        step = trainer.global_step
        set_logged_step(trainer, step)
        is_new = self.every_n_steps is not None and step % self.every_n_steps == 0 and step != self._saved_step
        if is_between_steps(trainer) and (self._is_due or is_new):
            self.save(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the count of what is logged right here as well: a validation belongs to the step before it."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._is_validating = True
            set_logged_step(trainer, trainer.global_step - 1)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let a checkpoint be due."""
        self._is_due, self._is_validating = True, False

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last one, which says that the run is finished."""
        self._is_finished = True
        self.save(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note whether the run is finished, which batches are done, and whether a validation must be done again."""
        checkpoint["is_finished"] = self._is_finished
        repair_progress(checkpoint, self._is_validating)

    def save(self, trainer: Trainer) -> Path:
        """Write a checkpoint of this moment, which must be between two optimiser steps, and remove old ones."""
        folder = RunFolder(Path(trainer.default_root_dir))
        path = folder.step_file(trainer.global_step)
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(path, weights_only=False)
            if trainer.is_global_zero:
                folder.prune(trainer.global_step, self.keep)
        self._is_due, self._saved_step = False, trainer.global_step
        return path
