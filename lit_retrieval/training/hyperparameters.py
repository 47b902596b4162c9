"""The run's entry in TensorBoard's HParams tab."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.tensorboard.summary import hparams

from lit_retrieval import runs
from lit_retrieval.runs import RunFolder
from lit_retrieval.training.inspection import writers

_ROOMS = ("model.", "data.", "seed_everything", "trainer.")
_SCORES = ("val/closed_loop_accuracy", "val/undecided", "val/exact_match", "val/token_accuracy", "val/loss")


class Hyperparameters(Callback):
    """Adds the run to TensorBoard's HParams tab: the keys its result depends on, and its last scores."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the keys, and the names of the logged scores."""
        configuration = runs.effective(RunFolder(Path(trainer.default_root_dir)).configuration() or {})
        values = {
            key: value if isinstance(value, bool | int | float) else str(value)
            for key, value in configuration.items()
            if key.startswith(_ROOMS)
        }
        experiment, start, _ = hparams(values, dict.fromkeys(_SCORES, 0.0))  # type: ignore[no-untyped-call]
        _write(trainer, experiment, start)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mark the run as finished."""
        _, _, end = hparams({}, {})  # type: ignore[no-untyped-call]
        _write(trainer, end)


def _write(trainer: Trainer, *summaries: Any) -> None:
    for writer in writers(trainer):
        for summary in summaries:
            file: Any = writer.file_writer
            file.add_summary(summary)
