"""The progress bar."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

_SHORT_NAMES = {
    "train/loss": "loss",
    "train/samples_per_second": "samples/s",
    "val/closed_loop_accuracy": "accuracy",
    "test/closed_loop_accuracy": "accuracy",
}


class ProgressBar(RichProgressBar):
    """Shows the steps, the time left, and the loss, speed and accuracy under short names."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: dict[str, Any] = {}

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The last logged loss, speed and closed-loop accuracy; read at logged steps only, since reading waits."""
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not trainer.training or (every and trainer.global_step % every == 0):
            values = trainer.callback_metrics
            self._shown = {short: float(values[name]) for name, short in _SHORT_NAMES.items() if name in values}
        return self._shown

    def _get_train_description(self, current_epoch: int) -> str:
        return "Training"  # an endless stream has no epochs
