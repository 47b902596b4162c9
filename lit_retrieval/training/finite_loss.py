"""Stops a run at a NaN or infinite loss or gradient."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_retrieval.errors import RunEndedError, UserError
from lit_retrieval.training.preemption import is_launched
from lit_retrieval.training.sequence_module import SequenceModule

STATUS = 3


class FiniteLoss(Callback):
    """Ends a run whose loss or gradient has become NaN or infinite.

    `GlobalStep` skips that step and all later ones. This callback checks for skipped steps every few steps, before each
    validation and before each checkpoint, so every checkpoint is from before the bad step.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise `UserError` if Adam has weights in float16: its second moments underflow to zero."""
        for optimizer in trainer.optimizers:
            halves = (one for group in optimizer.param_groups for one in group["params"] if one.dtype == torch.float16)
            if isinstance(optimizer, torch.optim.Adam) and next(halves, None) is not None:
                raise UserError(
                    "trainer.precision 16-true can't train with Adam, whose second moments underflow in float16; write "
                    "bf16-mixed, or 16-mixed on a GPU"
                )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check every few steps."""
        assert isinstance(pl_module, SequenceModule)
        if pl_module.whole_step.is_looked_at:
            _check(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check before a validation during training."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            _check(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Check before a checkpoint is written."""
        _check(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the last step."""
        _check(trainer, pl_module)


def _check(trainer: Trainer, module: LightningModule) -> None:
    """Raise `RunEndedError` on all ranks if a step was skipped; waits for the device."""
    assert isinstance(module, SequenceModule)
    if (step := int(module.whole_step.bad_step)) > 0:
        raise RunEndedError(
            f"error: the loss or its gradient is not finite in step {step:,}, which was skipped; the newest "
            "checkpoint is from before this step. Lower model.learning_rate, or set trainer.gradient_clip_val",
            0 if is_launched(trainer) else STATUS,
        )
