"""Which test samples were answered right."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_retrieval.data import Batch
from lit_retrieval.errors import UserError
from lit_retrieval.files import write_atomically
from lit_retrieval.training.scores import given_answers
from lit_retrieval.vocabulary import PAD

NAME = "right_answers.npz"


class RightAnswers(Callback):
    """Writes `right_answers.npz` into the run's folder when `test` ends, so that two models can be compared in pairs.

    Its arrays are in the order of the test samples, `(samples,)`: `right`, the number of right answers in the closed
    loop, `asked`, the number of answers, and `sizes`, the size of the problem.
    """

    def __init__(self) -> None:
        self._parts: list[torch.Tensor] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with no samples; raises `UserError` on several devices, which test the samples in another order."""
        if trainer.world_size > 1:
            raise UserError(
                f"RightAnswers needs the test samples in their order, got {trainer.world_size} devices; set "
                "trainer.devices to 1, or leave out the callback"
            )
        self._parts = []

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Count the right answers of each sample."""
        is_asked = batch.answers != PAD
        is_right = is_asked & (given_answers(outputs["replies"], batch) == batch.answers)
        self._parts.append(torch.stack([is_right.sum(1), is_asked.sum(1), batch.sizes]).cpu())

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file."""
        right, asked, sizes = torch.cat(self._parts, 1).to(torch.int32).numpy()
        with write_atomically(Path(trainer.default_root_dir) / NAME, "wb") as file:
            np.savez_compressed(file, right=right, asked=asked, sizes=sizes)
