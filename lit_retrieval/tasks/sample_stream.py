"""The samples of one split, by index."""

import sys
from typing import Literal, get_args

import numpy as np

from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_at_most, check_between, check_choice
from lit_retrieval.tasks.random import Counts, derive_seed, draw_weighted
from lit_retrieval.tasks.sizes import Sizes, SizeSpec
from lit_retrieval.tasks.task import Regime, Task, Transcripts

Split = Literal["fit", "validate", "test", "predict"]


class SampleStream:
    """An endless stream of samples, fully determined by its arguments.

    If a task has `num_problems`, it is evaluated once on each problem at each size, and the stream ends. Sample i is
    then problem i // s at size i mod s of the s sizes.

    Args:
        task: The task; `validate` draws from its `validation`, `test` and `predict` from its `evaluation`.
        regime: The regime of the replies.
        sizes: Sizes of the problems, one drawn for each sample.
        seed: Seed of the experiment.
        split: `fit`, `validate`, `test` or `predict`; each has its own random numbers.
    """

    def __init__(self, task: Task, regime: Regime, sizes: SizeSpec, seed: int, split: str) -> None:
        check_choice("split", split, get_args(Split), "SampleStream")
        self.task = {"fit": task, "validate": task.validation}.get(split, task.evaluation)
        self.regime = regime
        self.sizes = Sizes.parse(sizes)
        check_between("seed", seed, 0, 2**64 - 1, "data.seed")
        self.seed = derive_seed(seed, split)
        self._size_seed = np.uint64(derive_seed(self.seed, "sizes"))
        self._longest: dict[int, int] = {}  # tokens in a reply, by size
        self._is_finite = split != "fit" and self.task.num_problems is not None

    @property
    def num_samples(self) -> int | None:
        """Number of samples; None if the stream is endless."""
        return len(self.sizes.values) * (self.task.num_problems or 0) if self._is_finite else None

    def by_size(self, count: int) -> Counts | None:
        """Indices of the first `count` samples, grouped by size, `(count,)`; None for an endless stream."""
        return np.argsort(np.arange(count) % len(self.sizes.values), kind="stable") if self._is_finite else None

    def about(self, index: int) -> dict[str, int | str]:
        """`Task.about` for the problem of a sample."""
        return self.task.about(index // len(self.sizes.values) if self._is_finite else index)

    def take(self, indices: Counts, first_samples: Counts | None = None) -> Transcripts:
        """Write samples.

        Args:
            indices: Indices of the samples, `(batch,)`.
            first_samples: Index of the first sample that may draw each size, `(sizes,)`; all zero if absent.
        """
        if self._is_finite:
            check_at_most("samples", int(indices.max(initial=-1)) + 1, self.num_samples or 0, "samples")
            problems, choices = np.divmod(indices, len(self.sizes.values))
            return self._sample(problems, self.sizes.values[choices])
        if first_samples is None:
            first_samples = np.zeros(len(self.sizes.values), np.int64)
        choices = draw_weighted(self._size_seed, indices, self.sizes.weights, first_samples)
        return self._sample(indices, self.sizes.values[choices])

    def _sample(self, indices: Counts, sizes: Counts) -> Transcripts:
        """Write samples; raises `UserError` if a reply is longer than the task says, unless that is an estimate."""
        found = self.task.sample(self.seed, indices, sizes, self.regime)
        if self.task.vocabulary.is_text or self.task.estimates_lengths:
            return found
        replies = found.length - found.prompt_length
        for size in np.unique(sizes).tolist():
            if size not in self._longest:
                longest = self.task.longest_reply(size, self.regime)
                self._longest[size] = sys.maxsize if self.task.estimates_lengths else longest
            if (longest := int(replies[sizes == size].max())) > self._longest[size]:
                raise UserError(
                    f"longest_reply of {type(self.task).__name__} must be {longest} or more for size {size} in regime "
                    f"{self.regime}, as a sample has that many tokens after its prompt, got {self._longest[size]}; "
                    "correct it in the class"
                )
        return found
