"""The LightningDataModule."""

import os
import signal
import sys
from functools import cached_property, partial
from pathlib import Path
from threading import Thread
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader

from lit_retrieval.data.batch import Batch
from lit_retrieval.data.fitting_files import check_apart, load_fitting
from lit_retrieval.data.stream import BatchDataset, BatchIndices, FileDataset, FiniteBatchIndices, Passes
from lit_retrieval.data.suite import Suite, check_suite, hash_samples
from lit_retrieval.errors import UserError
from lit_retrieval.lightning_internals import batches_trained
from lit_retrieval.ranges import check_at_most, check_between, check_memory, check_numbers
from lit_retrieval.retrieval import FaultyRetriever, Retriever
from lit_retrieval.tasks import (
    Imported,
    Regime,
    SampleFile,
    SampleStream,
    Sizes,
    SizeSpec,
    Task,
    Transcripts,
    describe,
)
from lit_retrieval.tasks.random import derive_seed

# What a split is called in the names of arguments, before `_samples` and `_file`.
_KEYS = {"fit": "train", "validate": "val", "test": "test", "predict": "predict"}

_FEW = 4  # training samples that are compared with those of a checkpoint
_MANY = 100_000  # smallest batch size whose memory is estimated
_BYTES = 9  # per token: its id and its author
_PATIENCE = 600  # seconds to wait for a worker's batch; a worker that was forked beside a new thread may hang


class TranscriptData(LightningDataModule):
    """Transcripts of one task and regime: endless for training, fixed for evaluation.

    Training samples are the same for any number of workers and ranks, and never repeat unless train_samples or
    train_file is set. Validation, test and prediction each have their own stream.

    Args:
        task: The task: a class of `lit_retrieval.tasks`, or your own.
        regime: vanilla (the answer alone), cot (a written algorithm first) or retrieval (searches in the context).
        sizes: Sizes of the training problems, in the task's unit (vertices, words); one is drawn for each sample.
            Either a list, [8, 16], weights, {8: 3, 16: 1}, or a range, 4..8 or, with a step, 8..64..8. A train_file is
            used whole, whatever its sizes.
        eval_sizes: Sizes for validation, test and prediction; the training sizes if absent.
        batch_size: Samples in a batch, over all ranks; a step has trainer.accumulate_grad_batches batches.
        eval_batch_size: Samples decoded at once, over all ranks. Above 256 per rank, it is reduced until the states
            fit into a quarter of the memory.
        val_samples: Samples in a validation without a val_file; at most as many as the task's own file has.
        test_samples: Samples in a test without a test_file; at most as many as the task's own file has.
        predict_samples: Samples that `predict` decodes and prints; at most as many as the task's own file has.
        train_samples: Number of training samples, repeated in a new order on each pass; endless if absent.
        train_targets: every_token trains on all next tokens, as for language models, those of the user and the
            retriever included. If absent, only on tokens that the model writes or is asked for.
        train_file: File of training samples in place of generated ones, repeated on each pass; written by `python -m
            lit_retrieval.tasks write`.
        val_file: File of validation samples, all of them used.
        test_file: File of test samples, all of them used.
        file_sha256: The sha256 of the samples in train_file and val_file, under these names, as in their manifests.
            Files with other samples are refused. `fit` writes it into config.yaml.
        suite: Name, version and hash of a frozen test set, as in data/evaluation; the test fails if its samples do not
            match this hash.
        retriever: Runs the model's queries while it decodes. If absent, the retriever of the training transcripts:
            EitherFormRetriever, or that of a task in text.
        max_new_tokens: Maximum number of tokens in a reply, retrieved ones included; a reply that reaches it without an
            answer is undecided. 10% more than the longest right reply if absent.
        seed: Random seed of the sample streams.
        num_workers: Number of data-loader worker processes. 0 generates samples in the training process, which is fast
            enough for the built-in tasks.
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
        train_samples: int | None = None,
        train_targets: Literal["every_token"] | None = None,
        train_file: Path | None = None,
        val_file: Path | None = None,
        test_file: Path | None = None,
        file_sha256: dict[str, str] | None = None,
        suite: Suite | None = None,
        retriever: Retriever | None = None,
        max_new_tokens: int | None = None,
        seed: int = 0,
        num_workers: int = 0,
        budget: int | None = None,
    ) -> None:
        super().__init__()
        task.check_attributes()
        self.task = task
        self.regime = regime
        self.sizes = sizes
        self.eval_sizes = sizes if eval_sizes is None else eval_sizes
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_samples = {"validate": val_samples, "test": test_samples, "predict": predict_samples}
        self.train_samples = train_samples
        self.train_targets = train_targets
        self.suite = suite
        self.retriever: Retriever = retriever or task.retriever
        if isinstance(retriever, FaultyRetriever):
            self.retriever = retriever.around(task.retriever)
        task.check_retriever(self.retriever)
        self.seed, self.num_workers = seed, num_workers
        self._files: dict[str, SampleFile] = {}
        self._skipped = 0  # the extra samples (or missing, if negative) of earlier batches that had another size
        # The first sample that may draw each size: set by a curriculum, in memory shared with the workers.
        self.first_samples: Tensor = torch.zeros(len(Sizes.parse(sizes).values), dtype=torch.int64)
        self.first_samples.share_memory_()  # type: ignore[no-untyped-call]
        self._check_counts()
        for size in {*self.train_values, *Sizes.parse(self.eval_sizes).values.tolist()}:
            self.task.check_size(size)
        self._check_memory()
        if train_samples is not None and train_file is not None:
            raise UserError("train_samples and train_file are two training sets; leave out one of them in data")
        if suite is not None and test_file is not None:
            raise UserError("a suite has its own test samples; leave out data.test_file or data.suite")
        self._files = self._load({"fit": train_file, "validate": val_file, "test": test_file})
        self._check_hashes(file_sha256 or {})
        if budget is not None:
            if max_new_tokens is not None:
                raise UserError("data.budget is the old name of data.max_new_tokens; leave it out")
            rank_zero_warn("data.budget is now called data.max_new_tokens; the old name goes in the next version")
            max_new_tokens = budget
        self.max_new_tokens = self._longest_reply() * 11 // 10 + 1 if max_new_tokens is None else max_new_tokens
        self._check_max_new_tokens()

    @property
    def vocab_size(self) -> int:
        """Number of words in the task's vocabulary."""
        return len(self.task.vocabulary)

    @property
    def train_values(self) -> list[int]:
        """The sizes of the training problems, in ascending order."""
        if isinstance(self.task, Imported) and self.draws_from_file:
            return sorted(map(int, self._files["fit"].sizes))
        return [int(size) for size in Sizes.parse(self.sizes).values]

    @property
    def eval_values(self) -> list[int]:
        """The sizes of all evaluation problems, those in files included, in ascending order."""
        in_files = set[int]().union(*(file.sizes for split, file in self._files.items() if split != "fit"))
        drawn = (
            set() if isinstance(self.task, Imported) and in_files else {*Sizes.parse(self.eval_sizes).values.tolist()}
        )
        return sorted(drawn | in_files)

    @property
    def validated_sizes(self) -> set[int]:
        """The problem sizes in a validation."""
        if "validate" in self._files:
            return set(self._files["validate"].sizes)
        samples = self.stream("validate").take(np.arange(self.num_samples["validate"]))
        return set(samples.sizes.tolist())

    @property
    def draws_from_file(self) -> bool:
        """Whether the training samples come from a file."""
        return "fit" in self._files

    @property
    def tests_on_file(self) -> bool:
        """Whether the test samples come from a file."""
        return "test" in self._files

    @property
    def longest_distance(self) -> int:
        """The most tokens between an answer in the prompt and the end of its question; 0 if no answer is there."""
        in_files = [file.most("distances") for file in self._files.values()]
        return max(in_files + [self.task.longest_distance(size, self.regime) for size in self.eval_values])

    @property
    def most_tokens(self) -> int:
        """Approximate maximum of model tokens in one rank's training batch; the same on all ranks."""
        sizes = self._files["fit"].sizes if self.draws_from_file else self.train_values
        longest = max(self.task.longest_reply(int(size), self.regime) for size in sizes)
        return max(1, longest * self.batch_size // self._rank()[1])

    def train_dataloader(self) -> DataLoader[Batch]:
        """An endless loader; each epoch and each resumed run begins with the batch after the last one trained on."""
        sampler = BatchIndices(self.batch_size, *self._rank(), first_sample=lambda: self.samples_trained)
        orders, every_token = derive_seed(self.seed, "orders"), self.train_targets == "every_token"
        if file := self._files.get("fit"):
            return self._loader(FileDataset(file, orders, every_token), sampler)
        passes = None if self.train_samples is None else Passes(self.train_samples, orders)
        return self._loader(BatchDataset(self.stream("fit"), self.first_samples, passes, every_token), sampler)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The same `val_samples` every time; warns in `fit` if the test asks the same problems."""
        if self._validates_on_the_test() and self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            rank_zero_warn(
                "validations ask the first problems of the test, so best.ckpt is chosen on test problems: use "
                "--ckpt_path last, or set data.val_file or, for HotpotQA, data.task.init_args.held_out"
            )
        return self._eval_loader("validate")

    def test_dataloader(self) -> DataLoader[Batch]:
        """The same `test_samples` every time; raises `UserError` unless they match the suite, if there is one."""
        if self.suite is not None:
            check_suite(self.suite, self.stream("test"), self.num_samples["test"])
        return self._eval_loader("test")

    def predict_dataloader(self) -> DataLoader[Batch]:
        """The same `predict_samples` every time."""
        return self._eval_loader("predict")

    def some_of_size(self, size: int, count: int) -> Transcripts:
        """Up to `count` samples of a size, from a file that has one, or else new ones."""
        for file in self._files.values():
            if len(found := file.indices_of(size)[:count]):
                return file.take(found)
        count = min(count, self.task.evaluation.num_problems or count)
        return self.task.evaluation.sample(self.seed, np.arange(count), np.full(count, size), self.regime)

    def stream(self, split: str) -> SampleStream:
        """The generated samples of a split: `fit`, `validate`, `test` or `predict`."""
        sizes = self.sizes if split == "fit" else self.eval_sizes
        return SampleStream(self.task, self.regime, sizes, self.seed, split)

    def source(self, split: str) -> SampleStream | SampleFile:
        """The samples of a split: those of its file, or else generated ones."""
        return self._files.get(split) or self.stream(split)

    @property
    def batches_trained(self) -> int:
        """The number of global batches trained on, those before a resume included; 0 without a Trainer."""
        return batches_trained(self.trainer) if self.trainer else 0

    @property
    def samples_trained(self) -> int:
        """The number of samples trained on, which is also the index of the next batch's first sample."""
        return self._skipped + self.batches_trained * self.batch_size

    @cached_property
    def words_sha256(self) -> str:
        """The sha256 of the vocabulary."""
        return hash_samples(self.stream("fit"), 0)

    @cached_property
    def samples_sha256(self) -> str:
        """The sha256 of the vocabulary and of the first training samples, except those of a file."""
        return hash_samples(self.stream("fit"), 0 if self.draws_from_file else _FEW)

    def state_dict(self) -> dict[str, Any]:
        """The position in the stream, in samples (a resumed run may have another `batch_size`), and what is drawn."""
        drawn = {"arguments": self._arguments(), "words": self.words_sha256, "samples": self.samples_sha256}
        return {"batches": self.batches_trained, "samples": self.samples_trained, "drawn": drawn}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the position in the stream; warn if the same arguments now give other samples."""
        self._skipped = state_dict["samples"] - state_dict["batches"] * self.batch_size
        there = state_dict.get("drawn")
        if there is None or there["arguments"] != self._arguments():  # an older checkpoint, or other data
            return
        is_evaluated = self.trainer is not None and self.trainer.state.fn != TrainerFn.FITTING  # may draw no samples
        if there["words"] != self.words_sha256 or (not is_evaluated and there["samples"] != self.samples_sha256):
            name = describe(self.task)["class_path"]
            rank_zero_warn(
                "the same seed gives other samples or words than in training, so code or files have changed, or they "
                f"depend on the process: see `python -m lit_retrieval.tasks check-class {name}`"
            )

    def _arguments(self) -> str:
        """The arguments that the training samples depend on."""
        return str([describe(self.task), self.regime, self.sizes, self.seed, self.draws_from_file])

    def _validates_on_the_test(self) -> bool:
        """Whether validation and test, both without a file, ask a finite number of problems, the same one first."""
        streams = [self.stream(split) for split in ("validate", "test") if split not in self._files]
        if len(streams) < 2 or None in (stream.num_samples for stream in streams):
            return False
        first, other = (stream.take(np.zeros(1, np.int64)).tokens for stream in streams)
        return np.array_equal(first, other)

    def _eval_loader(self, split: str) -> DataLoader[Batch]:
        file = self._files.get(split)
        stream = self.stream(split)
        most = len(file) if file else stream.num_samples or sys.maxsize
        num_samples = most if file and split != "predict" else min(self.num_samples[split], most)
        key = f"{_KEYS[split]}_{'file' if file and split != 'predict' else 'samples'}"
        for name, samples in ((key, num_samples), ("eval_batch_size", self.eval_batch_size)):
            if samples < self._rank()[1]:
                raise UserError(
                    f"data.{name} must have {self._rank()[1]} samples or more, one for each rank, got {samples}; set "
                    "it, or lower trainer.devices"
                )
        if self.trainer is not None and not getattr(self.trainer, "fast_dev_run", False):
            self._tell_left_out(split, num_samples)
        if file:
            return self._loader(FileDataset(file), FiniteBatchIndices(self.eval_batch_size, num_samples, *self._rank()))
        # Rows of one size are about as long, and all rows of a batch wait for the longest prompt.
        sampler = FiniteBatchIndices(self.eval_batch_size, num_samples, *self._rank(), stream.by_size(num_samples))
        return self._loader(BatchDataset(stream), sampler)

    def _tell_left_out(self, split: str, num_samples: int) -> None:
        """Warn if a limit of the trainer leaves out samples that would be scored.

        Raises `UserError` if a limit is less than a batch, or if the ranks' numbers of batches differ.
        """
        name = f"limit_{_KEYS[split]}_batches"
        limit, batches = getattr(self.trainer, name), -(-num_samples // self.eval_batch_size)
        world_size = self._rank()[1]
        ranks = (FiniteBatchIndices(self.eval_batch_size, num_samples, rank, world_size) for rank in range(world_size))
        if split != "predict" and isinstance(limit, float) and limit < 1 and len({len(one) for one in ranks}) > 1:
            raise UserError(
                f"trainer.{name} must be a number of batches where ranks have different numbers of them, got "
                f"{limit}; set trainer.{name}"
            )
        taken = limit if isinstance(limit, int) else int(batches * limit)
        if limit and not taken:
            raise UserError(
                f"trainer.{name}={limit} must be a batch or more, and there {'is' if batches == 1 else 'are'} {batches}"
                "; write a number of batches, or lower data.eval_batch_size"
            )
        if split != "predict" and 0 < taken < batches:
            left = num_samples - taken * self.eval_batch_size
            rank_zero_warn(f"trainer.{name}={limit} leaves out the last {left:,} of {num_samples:,} samples")

    def _loader(self, samples: BatchDataset | FileDataset, sampler: BatchIndices) -> DataLoader[Batch]:
        return DataLoader(
            samples, sampler=sampler, batch_size=None, num_workers=self.num_workers,
            timeout=_PATIENCE if self.num_workers else 0, persistent_workers=self.num_workers > 0,
            worker_init_fn=partial(_leave_signals_to_training, os.getpid()),
        )  # fmt: skip

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _load(self, paths: dict[str, Path | None]) -> dict[str, SampleFile]:
        """Read the files of some splits; raises `UserError` for another task's file, or if it has training samples."""
        files = {split: load_fitting(path, self.task, self.regime) for split, path in paths.items() if path is not None}
        named = {f"data.{_KEYS[split]}_file": file for split, file in files.items()}
        check_apart(named, self.task, self.seed, self.train_values, Sizes.parse(self.eval_sizes).values.tolist())
        if isinstance(self.task, Imported) and (evaluated := files.get("test") or files.get("validate")):
            files["predict"] = evaluated
        return files

    def _check_hashes(self, known: dict[str, str]) -> None:
        names = [f"{_KEYS[split]}_file" for split in ("fit", "validate", "test")]
        if unknown := sorted(known.keys() - set(names)):
            raise UserError(f"the names in data.file_sha256 must be among {', '.join(names)}, got {unknown[0]}")
        for split, file in self._files.items():
            found, name = file.manifest["sha256"], f"{_KEYS[split]}_file"
            if known.get(name, found) != found:
                raise UserError(
                    f"data.{name} must have the samples in data.file_sha256, {known[name][:12]}..., got "
                    f"{found[:12]}...; restore the file, or leave out data.file_sha256"
                )

    def _longest_reply(self) -> int:
        in_files = [file.longest_reply for split, file in self._files.items() if split != "fit"]
        return max(in_files + [self.task.longest_reply(size, self.regime) for size in self.eval_values])

    def _check_counts(self) -> None:
        check_numbers(
            "data", batch_size=(self.batch_size, 1), eval_batch_size=(self.eval_batch_size, 1),
            val_samples=(self.num_samples["validate"], 1), test_samples=(self.num_samples["test"], 1),
            predict_samples=(self.num_samples["predict"], 1), num_workers=(self.num_workers, 0),
        )  # fmt: skip
        is_weighted = len(set(Sizes.parse(self.eval_sizes).weights.tolist())) > 1
        if is_weighted and self.eval_sizes is not self.sizes and self.task.evaluation.num_problems is not None:
            raise UserError(
                f"{type(self.task).__name__} is scored on each of its problems at each size, so eval_sizes has no "
                f"weights, got {self.eval_sizes}; write a list in data.eval_sizes"
            )
        if self.train_samples is not None:
            check_numbers("data", train_samples=(self.train_samples, 1))
        check_between("seed", self.seed, 0, 2**64 - 1, "data.seed")
        check_at_most("num_workers", self.num_workers, max(64, 4 * (os.cpu_count() or 1)), "data.num_workers")

    def _check_memory(self) -> None:
        """Raise `UserError` if the tokens of one batch do not fit into memory."""
        batches = {"batch_size": ("fit", self.batch_size)}
        batches["eval_batch_size"] = ("validate", min(self.eval_batch_size, max(self.num_samples.values())))
        for name, (split, samples) in batches.items():
            if samples > _MANY:
                (length,) = self.stream(split).take(np.arange(1)).length
                check_memory(f"a batch of {samples:,} samples", samples * int(length) * _BYTES, f"data.{name}")

    def _check_max_new_tokens(self) -> None:
        shortest = self.task.shortest_reply(self.regime)
        if self.max_new_tokens < shortest:
            raise UserError(
                f"max_new_tokens must be {shortest} or more, the length of the shortest right reply in the regime "
                f"{self.regime}, got {self.max_new_tokens}; set data.max_new_tokens, or leave it out"
            )
        most = max(10_000, 100 * self._longest_reply())
        check_at_most("max_new_tokens", self.max_new_tokens, most, "data.max_new_tokens, or leave it out")


def _leave_signals_to_training(training: int, worker: int) -> None:
    """Let a worker ignore signals that stop a job, unless they come from the training process.

    Args:
        training: Id of the training process; a worker's parent may be a fork server.
        worker: Index of the worker.
    """
    if hasattr(signal, "sigwaitinfo"):  # not on a Mac
        signals = {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        Thread(target=_end_with_training, args=(signals, training), daemon=True).start()


def _end_with_training(signals: set[signal.Signals], training: int) -> None:
    while signal.sigwaitinfo(signals).si_pid != training:
        pass
    os._exit(0)
