"""The LightningDataModule."""

from typing import Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from lit_retrieval.data.batch import Batch
from lit_retrieval.data.stream import BatchIndices, FiniteBatchIndices, TranscriptStream
from lit_retrieval.errors import UserError
from lit_retrieval.retrieval import Retriever, ShortFormRetriever
from lit_retrieval.tasks import Regime, Task


class TranscriptData(LightningDataModule):
    """Transcripts of one task in one regime, written on the fly: endless for training, fixed for evaluation.

    Training takes a new sample every time; any number of workers and ranks sees the same ones. Validation, test and
    prediction have streams of their own.

    Args:
        task: What is asked: a class of `lit_retrieval.tasks`, or your own.
        regime: vanilla (the answer alone), cot (a written algorithm first) or retrieval (searches in the context).
        sizes: Sizes of the training problems, in the task's measure (vertices, words); each sample draws one.
        eval_sizes: Sizes for validation, test and prediction; the training sizes if absent.
        batch_size: Samples in a training step, over all ranks together.
        eval_batch_size: Samples that are decoded at a time, over all ranks together.
        val_samples: Samples in a validation run.
        test_samples: Samples in a test run.
        predict_samples: Samples that `predict` decodes and prints.
        retriever: What runs a model's queries while it decodes; if absent, ShortFormRetriever, which wrote the training
            transcripts.
        budget: Words that a reply may have, retrieved ones included, before the sample counts as undecided; one number
            for all samples. If absent, a tenth more than the longest right reply.
        seed: Names the streams of samples.
        num_workers: Processes that write samples; 0 writes them in the training process, which is fast enough for the
            built-in tasks.
    """

    def __init__(
        self,
        task: Task,
        regime: Regime = "retrieval",
        sizes: list[int] = [16],  # noqa: B006 (jsonargparse shows it in --help; nothing changes it)
        eval_sizes: list[int] | None = None,
        batch_size: int = 64,
        eval_batch_size: int = 256,
        val_samples: int = 512,
        test_samples: int = 5000,
        predict_samples: int = 4,
        retriever: Retriever | None = None,
        budget: int | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.task = task
        self.regime = regime
        self.sizes = sizes
        self.eval_sizes = eval_sizes or sizes
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_samples = {"validate": val_samples, "test": test_samples, "predict": predict_samples}
        self.retriever: Retriever = retriever or ShortFormRetriever()
        self.seed = seed
        self.num_workers = num_workers
        self._first_batch = 0
        self._check_counts()
        self._check_sizes()
        self.budget = self._longest_reply() * 11 // 10 + 1 if budget is None else budget
        self._check_budget()

    @property
    def vocab_size(self) -> int:
        """Number of words in the task's vocabulary."""
        return len(self.task.vocabulary)

    def train_dataloader(self) -> DataLoader[Batch]:
        """An endless loader."""
        sampler = BatchIndices(self.batch_size, *self._rank(), first_batch=self._first_batch)
        return self._loader(self.sizes, "fit", sampler)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The same `val_samples` every time."""
        return self._eval_loader("validate")

    def test_dataloader(self) -> DataLoader[Batch]:
        """The same `test_samples` every time."""
        return self._eval_loader("test")

    def predict_dataloader(self) -> DataLoader[Batch]:
        """The same `predict_samples` every time."""
        return self._eval_loader("predict")

    def state_dict(self) -> dict[str, Any]:
        """How many global batches have been trained on; a resumed run takes the next one."""
        assert self.trainer is not None
        progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress.total
        return {"first_batch": progress.processed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the batch after the last one trained on."""
        self._first_batch = state_dict["first_batch"]

    def _eval_loader(self, split: str) -> DataLoader[Batch]:
        sampler = FiniteBatchIndices(self.eval_batch_size, self.num_samples[split], *self._rank())
        return self._loader(self.eval_sizes, split, sampler)

    def _loader(self, sizes: list[int], split: str, sampler: BatchIndices) -> DataLoader[Batch]:
        stream = TranscriptStream(self.task, self.regime, sizes, self.seed, split)
        return DataLoader(
            stream, sampler=sampler, batch_size=None, num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )  # fmt: skip

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _longest_reply(self) -> int:
        return max(self.task.longest_reply(size, self.regime) for size in self.eval_sizes)

    def _check_counts(self) -> None:
        for name, count in (("batch_size", self.batch_size), ("eval_batch_size", self.eval_batch_size)):
            if count < 1:
                raise UserError(f"{name}={count} is no batch; write 1 or more in data.{name}")

    def _check_sizes(self) -> None:
        if not self.sizes:
            raise UserError("data.sizes is empty; write at least one size, as in [16]")
        for size in {*self.sizes, *self.eval_sizes}:
            self.task.check_size(size)

    def _check_budget(self) -> None:
        shortest = self.task.shortest_reply(self.regime)
        if self.budget < shortest:
            raise UserError(
                f"budget={self.budget} is shorter than the shortest right reply, {shortest} words in the regime "
                f"{self.regime}; write {self._longest_reply()} or more in data.budget, or leave it out"
            )
