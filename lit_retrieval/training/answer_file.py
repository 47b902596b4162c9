"""The answers of a test in text, one by one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch.distributed
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_retrieval.conversation import RIGHT
from lit_retrieval.data import Batch
from lit_retrieval.data.stream import Indices
from lit_retrieval.files import write_atomically
from lit_retrieval.tasks.text import TextTask
from lit_retrieval.tasks.text.answers import f1
from lit_retrieval.training.sequence_module import SequenceModule

NAME = "answers.jsonl"


class AnswerFile(Callback):
    """Writes `answers.jsonl` into the run's folder when `test` ends, if the task is in text: an object for each sample.

    It has what the task says about the problem (`id`, and for HotpotQA its `order`), or the index in data.test_file as
    `id`; the size `n`; the model's `answer` (null if it gave none) and the `right` one; whether they match as `em`,
    their `f1` by HotpotQA's rule; and the number of `searches`.
    """

    def __init__(self) -> None:
        self._indices: Iterator[Indices] = iter(())
        self._lines: list[tuple[int, str]] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the first batch."""
        loader: Any = trainer.test_dataloaders
        self._indices, self._lines = iter(loader.sampler), []

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Keep the answers of a batch."""
        assert isinstance(pl_module, SequenceModule)
        data, indices = pl_module.data, next(self._indices)
        if not isinstance(task := data.task, TextTask):
            return
        right, stream = batch.transcripts(), data.stream("test")
        for row, (index, reply) in enumerate(zip(indices.tolist(), outputs["replies"], strict=True)):
            given, true = task.answer_texts(reply)[0], task.answer_texts(right.reply(row))[0]
            answer = {
                **({"id": index} if data.tests_on_file else stream.about(index)),
                "n": int(batch.sizes[row]), "answer": given, "right": true, "em": int(reply.answers == [RIGHT]),
                "f1": f1(given or "", true or ""), "searches": reply.num_searches,
            }  # fmt: skip
            self._lines.append((index, json.dumps(answer)))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file, with the answers of all ranks in the order of the samples."""
        parts: list[Any] = [self._lines] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(parts, self._lines)
        lines = sorted(line for part in parts for line in part)
        if lines and trainer.is_global_zero:
            path = Path(trainer.default_root_dir) / NAME
            path.parent.mkdir(parents=True, exist_ok=True)
            with write_atomically(path) as file:
                file.writelines(f"{text}\n" for _, text in lines)
