"""The checkpoint to go on from."""

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class LastCheckpoint(ModelCheckpoint):
    """Keeps `last.ckpt`, written after every validation and when training ends.

    Lightning's `save_last` writes it only when the best checkpoint has changed as well.
    """

    def __init__(self) -> None:
        super().__init__(filename="last", enable_version_counter=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write it once more, if training went on after the last validation."""
        if not self._should_skip_saving_checkpoint(trainer):
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))
