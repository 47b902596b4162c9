"""No step is taken with numbers that are none."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor
from torch.optim import Optimizer

from lit_retrieval.errors import RunEndedError
from lit_retrieval.training.preemption import is_launched

STATUS = 3


class FiniteLoss(Callback):
    """Ends a run before an optimiser step with a loss or a gradient that is NaN or infinite.

    So every checkpoint is finite, and the newest is from before. With a loss scaler (`16-mixed`) infinite gradients are
    normal, and only the loss counts; without one it logs `train/gradient_norm`, from before any clipping.
    """

    def __init__(self) -> None:
        self._is_bad: Tensor | None = None

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Look at the loss of each batch that goes into a step; nothing waits for the device here."""
        is_bad = ~torch.isfinite(loss.detach())
        self._is_bad = is_bad if self._is_bad is None else self._is_bad | is_bad

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Look at the gradients too, and stop on all ranks if one has a number that is none."""
        assert self._is_bad is not None
        is_bad = self._is_bad.any()
        gradients = [one.grad for one in pl_module.parameters() if one.grad is not None]
        if not _has_scaler(trainer):
            norm = torch.nn.utils.get_total_norm(gradients)
            pl_module.log("train/gradient_norm", norm)
            is_bad = is_bad | ~torch.isfinite(norm)
        if trainer.world_size > 1:
            is_bad = trainer.strategy.reduce(is_bad.int(), reduce_op="max")
        self._is_bad = None
        if is_bad:
            raise RunEndedError(
                f"error: the loss or its gradient is not finite in step {trainer.global_step + 1:,}, which was not "
                "taken; the newest checkpoint is from before it. Lower model.learning_rate, or set "
                "trainer.gradient_clip_val",
                0 if is_launched(trainer) else STATUS,
            )


def _has_scaler(trainer: Trainer) -> bool:
    plugin: Any = trainer.precision_plugin
    return isinstance(plugin, MixedPrecision) and plugin.scaler is not None
