"""Base class of callbacks that collect data about each test sample."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch.distributed
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_retrieval.conversation import Replies
from lit_retrieval.data import Batch
from lit_retrieval.data.stream import Indices
from lit_retrieval.training.sequence_module import SequenceModule


class SampleCallback(Callback, ABC):
    """Collects data about each test sample, and writes it when `test` ends, in the order of the samples.

    The first rank writes the data of all ranks.
    """

    def __init__(self) -> None:
        self._indices: Iterator[Indices] = iter(())
        self._kept: list[tuple[int, Any]] = []

    @abstractmethod
    def keep(self, module: SequenceModule, batch: Batch, replies: Replies, indices: list[int]) -> list[Any]:
        """The data of each row of a batch, whose samples have these indices; an empty list for none."""

    @abstractmethod
    def write(self, folder: Path, kept: list[Any]) -> None:
        """Write the collected data into the run's folder."""

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start without samples."""
        loader: Any = trainer.test_dataloaders
        self._indices, self._kept = iter(loader.sampler), []

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Collect the data of a batch."""
        assert isinstance(pl_module, SequenceModule)
        indices = next(self._indices).tolist()
        if kept := self.keep(pl_module, batch, outputs["replies"], indices):
            self._kept += zip(indices, kept, strict=True)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file, if there is data."""
        parts: list[Any] = [self._kept] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(parts, self._kept)
        kept = sorted((pair for part in parts for pair in part), key=lambda pair: pair[0])
        if kept and trainer.is_global_zero:
            folder = Path(trainer.default_root_dir)
            folder.mkdir(parents=True, exist_ok=True)
            self.write(folder, [one for _, one in kept])
