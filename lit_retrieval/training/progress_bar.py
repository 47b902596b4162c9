"""The progress bar."""

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

_SHORT_NAMES = {
    "train/loss": "loss",
    "train/samples_per_second": "samples/s",
    "val/closed_loop_accuracy": "accuracy",
    "test/closed_loop_accuracy": "accuracy",
}


class ProgressBar(RichProgressBar):
    """Steps, the time left, and the three numbers that matter under short names."""

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """The loss, the speed, and the closed-loop accuracy of the last validation."""
        metrics = super().get_metrics(trainer, pl_module)
        return {short: metrics[name] for name, short in _SHORT_NAMES.items() if name in metrics}

    def _get_train_description(self, current_epoch: int) -> str:
        return "Training"  # an endless stream has no epochs to count
