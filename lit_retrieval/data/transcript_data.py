"""The LightningDataModule."""

import os
import signal
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader

from lit_retrieval.data.batch import Batch
from lit_retrieval.data.stream import BatchDataset, BatchIndices, FileDataset, FiniteBatchIndices
from lit_retrieval.data.suite import Suite, check_suite
from lit_retrieval.errors import UserError
from lit_retrieval.lightning_internals import batches_trained
from lit_retrieval.ranges import check_numbers
from lit_retrieval.retrieval import EitherFormRetriever, Retriever
from lit_retrieval.tasks import Regime, SampleFile, SampleStream, Sizes, SizeSpec, Task, load_samples
from lit_retrieval.tasks.random import derive_seed


class TranscriptData(LightningDataModule):
    """Transcripts of one task in one regime, written on the fly: endless for training, fixed for evaluation.

    Training takes a new sample every time; any number of workers and ranks sees the same ones. Validation, test and
    prediction have streams of their own.

    Args:
        task: What is asked: a class of `lit_retrieval.tasks`, or your own.
        regime: vanilla (the answer alone), cot (a written algorithm first) or retrieval (searches in the context).
        sizes: Sizes of the training problems, in the task's measure (vertices, words); each sample draws one. Write
            [8, 16], or {8: 3, 16: 1} with weights, or a range such as 4..8, or 8..64..8 with a step.
        eval_sizes: Sizes for validation, test and prediction; the training sizes if absent.
        batch_size: Samples in a training step, over all ranks together.
        eval_batch_size: Samples that are decoded at a time, over all ranks together.
        val_samples: Samples in a validation run.
        test_samples: Samples in a test run.
        predict_samples: Samples that `predict` decodes and prints.
        train_file: Train on the samples of this file, over and over, and not on fresh ones; `python -m
            lit_retrieval.tasks write` makes such files.
        val_file: Validate on all samples of this file.
        test_file: Test on all samples of this file.
        suite: What the test samples must be; the files in data/evaluation have such suites, and a test whose samples
            are others is refused.
        retriever: What runs a model's queries while it decodes; if absent, EitherFormRetriever, which finds what the
            training transcripts found.
        max_new_tokens: Tokens that a reply may have, retrieved ones included, before the sample counts as undecided;
            one number for all samples. If absent, a tenth more than the longest right reply.
        seed: Names the streams of samples.
        num_workers: Processes that write samples; 0 writes them in the training process, which is fast enough for the
            built-in tasks.
        budget: Old name of max_new_tokens.
    """

    def __init__(
        self,
        task: Task,
        regime: Regime = "retrieval",
        sizes: SizeSpec = [16],  # noqa: B006 (jsonargparse shows it in --help; nothing changes it)
        eval_sizes: SizeSpec | None = None,
        batch_size: int = 64,
        eval_batch_size: int = 256,
        val_samples: int = 512,
        test_samples: int = 5000,
        predict_samples: int = 4,
        train_file: Path | None = None,
        val_file: Path | None = None,
        test_file: Path | None = None,
        suite: Suite | None = None,
        retriever: Retriever | None = None,
        max_new_tokens: int | None = None,
        seed: int = 0,
        num_workers: int = 0,
        budget: int | None = None,
    ) -> None:
        super().__init__()
        self.task = task
        self.regime = regime
        self.sizes = sizes
        self.eval_sizes = eval_sizes or sizes
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_samples = {"validate": val_samples, "test": test_samples, "predict": predict_samples}
        self.suite = suite
        self.retriever: Retriever = retriever or EitherFormRetriever()
        self.seed = seed
        self.num_workers = num_workers
        # Where a curriculum enters the sample from which on each size is drawn, in memory that workers share.
        self.first_samples: Tensor = torch.zeros(len(Sizes.parse(sizes).values), dtype=torch.int64)
        self.first_samples.share_memory_()  # type: ignore[no-untyped-call]
        self._first_batch = 0
        self._check_counts()
        for size in {*self.train_values, *Sizes.parse(self.eval_sizes).values.tolist()}:
            self.task.check_size(size)
        if suite is not None and test_file is not None:
            raise UserError("a suite names its own test samples; leave out data.test_file or data.suite")
        files = {"fit": train_file, "validate": val_file, "test": test_file}
        self._files = {split: self._load(path) for split, path in files.items() if path is not None}
        if budget is not None:
            rank_zero_warn("data.budget is now called data.max_new_tokens; the old name goes in the next version")
            max_new_tokens = budget if max_new_tokens is None else max_new_tokens
        self.max_new_tokens = self._longest_reply() * 11 // 10 + 1 if max_new_tokens is None else max_new_tokens
        self._check_max_new_tokens()

    @property
    def vocab_size(self) -> int:
        """Number of words in the task's vocabulary."""
        return len(self.task.vocabulary)

    @property
    def train_values(self) -> list[int]:
        """The sizes of the training problems, in rising order."""
        return [int(size) for size in Sizes.parse(self.sizes).values]

    @property
    def eval_values(self) -> list[int]:
        """The sizes of all evaluation problems, those in files included, in rising order."""
        in_files = (file.sizes for split, file in self._files.items() if split != "fit")
        return sorted({*Sizes.parse(self.eval_sizes).values.tolist()}.union(*in_files))

    @property
    def draws_from_file(self) -> bool:
        """Whether the training samples are those of a file."""
        return "fit" in self._files

    @property
    def longest_distance(self) -> int:
        """How many words at most an answer stands before the end of its question; 0 if none stands anywhere."""
        return max(self.task.longest_distance(size, self.regime) for size in self.eval_values)

    @property
    def most_tokens(self) -> int:
        """About as many tokens of the model as a training batch of one rank has at most; the same on all ranks."""
        sizes = self._files["fit"].sizes if self.draws_from_file else self.train_values
        longest = max(self.task.longest_reply(int(size), self.regime) for size in sizes)
        return max(1, longest * self.batch_size // self._rank()[1])

    def train_dataloader(self) -> DataLoader[Batch]:
        """An endless loader."""
        sampler = BatchIndices(self.batch_size, *self._rank(), first_batch=self._first_batch)
        if file := self._files.get("fit"):
            return self._loader(FileDataset(file, derive_seed(self.seed, "orders")), sampler)
        return self._loader(BatchDataset(self.stream("fit"), self.first_samples), sampler)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The same `val_samples` every time."""
        return self._eval_loader("validate")

    def test_dataloader(self) -> DataLoader[Batch]:
        """The same `test_samples` every time; raises `UserError` if there is a suite and they are not its own."""
        if self.suite is not None:
            check_suite(self.suite, self.stream("test"), self.num_samples["test"])
        return self._eval_loader("test")

    def predict_dataloader(self) -> DataLoader[Batch]:
        """The same `predict_samples` every time."""
        return self._eval_loader("predict")

    def stream(self, split: str) -> SampleStream:
        """The samples of a split that has no file: `fit`, `validate`, `test` or `predict`."""
        sizes = self.sizes if split == "fit" else self.eval_sizes
        return SampleStream(self.task, self.regime, sizes, self.seed, split)

    def state_dict(self) -> dict[str, Any]:
        """How many global batches have been trained on; a resumed run takes the next one."""
        return {"first_batch": self.batches_trained}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the batch after the last one trained on."""
        self._first_batch = state_dict["first_batch"]

    @property
    def batches_trained(self) -> int:
        """How many global batches have been trained on, in earlier parts of a resumed run too."""
        assert self.trainer is not None
        return batches_trained(self.trainer)

    def _eval_loader(self, split: str) -> DataLoader[Batch]:
        file = self._files.get(split)
        num_samples = len(file) if file else self.num_samples[split]
        sampler = FiniteBatchIndices(self.eval_batch_size, num_samples, *self._rank())
        return self._loader(FileDataset(file) if file else BatchDataset(self.stream(split)), sampler)

    def _loader(self, samples: BatchDataset | FileDataset, sampler: BatchIndices) -> DataLoader[Batch]:
        return DataLoader(
            samples, sampler=sampler, batch_size=None, num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0, worker_init_fn=partial(_leave_signals_to_training, os.getpid()),
        )  # fmt: skip

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _load(self, path: Path) -> SampleFile:
        file = load_samples(path)
        if file.vocabulary.words != self.task.vocabulary.words:
            raise UserError(f"{path} has other words than the task in data.task; give the task that wrote it")
        if file.manifest.get("regime") != self.regime:
            raise UserError(
                f"{path} is of the regime {file.manifest.get('regime')}, and data.regime is {self.regime}; make them "
                "the same"
            )
        return file

    def _longest_reply(self) -> int:
        return max(self.task.longest_reply(size, self.regime) for size in self.eval_values)

    def _check_counts(self) -> None:
        check_numbers(
            "data", batch_size=(self.batch_size, 1), eval_batch_size=(self.eval_batch_size, 1),
            val_samples=(self.num_samples["validate"], 1), test_samples=(self.num_samples["test"], 1),
            predict_samples=(self.num_samples["predict"], 1), num_workers=(self.num_workers, 0), seed=(self.seed, 0),
        )  # fmt: skip

    def _check_max_new_tokens(self) -> None:
        shortest = self.task.shortest_reply(self.regime)
        if self.max_new_tokens < shortest:
            raise UserError(
                f"max_new_tokens must be {shortest} or more, as many tokens as the shortest right reply has in the "
                f"regime {self.regime}, got {self.max_new_tokens}; set data.max_new_tokens, or leave it out"
            )


def _leave_signals_to_training(training: int, worker: int) -> None:
    """Let a worker write on when all processes of a job are asked to stop: the training process stops it, in order.

    Args:
        training: The training process; a worker's parent may be another, the server that forks the workers.
        worker: The worker's number.
    """
    if hasattr(signal, "sigwaitinfo"):  # not on a Mac
        signals = {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        Thread(target=_end_with_training, args=(signals, training), daemon=True).start()


def _end_with_training(signals: set[signal.Signals], training: int) -> None:
    while signal.sigwaitinfo(signals).si_pid != training:
        pass
    os._exit(0)
