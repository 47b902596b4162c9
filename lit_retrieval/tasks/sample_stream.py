"""The samples of one split, by index."""

from typing import Literal, get_args

import numpy as np

from lit_retrieval.ranges import check_at_most, check_between, check_choice
from lit_retrieval.tasks.random import Counts, derive_seed, draw_weighted
from lit_retrieval.tasks.sizes import Sizes, SizeSpec
from lit_retrieval.tasks.task import Regime, Task, Transcripts

Split = Literal["fit", "validate", "test", "predict"]


class SampleStream:
    """An endless stream of samples, fully determined by its arguments.

    A task with `num_problems` is evaluated on each of them at each size: sample i is problem i // s at size i mod s of
    the s sizes, and the samples end.

    Args:
        task: The task; splits other than `fit` draw from its `evaluation`.
        regime: The regime of the replies.
        sizes: Sizes of the problems, one drawn for each sample.
        seed: Seed of the experiment.
        split: `fit`, `validate`, `test` or `predict`; each has its own random numbers.
    """

    def __init__(self, task: Task, regime: Regime, sizes: SizeSpec, seed: int, split: str) -> None:
        check_choice("split", split, get_args(Split), "SampleStream")
        self.task = task if split == "fit" else task.evaluation
        self.regime = regime
        self.sizes = Sizes.parse(sizes)
        check_between("seed", seed, 0, 2**64 - 1, "data.seed")
        self.seed = derive_seed(seed, split)
        self._size_seed = np.uint64(derive_seed(self.seed, "sizes"))
        self._is_finite = split != "fit" and self.task.num_problems is not None

    @property
    def num_samples(self) -> int | None:
        """How many samples there are; None if they are endless."""
        return len(self.sizes.values) * (self.task.num_problems or 0) if self._is_finite else None

    def by_size(self, count: int) -> Counts | None:
        """The first `count` samples, those of one size together: indices `(count,)`; None for endless ones."""
        return np.argsort(np.arange(count) % len(self.sizes.values), kind="stable") if self._is_finite else None

    def about(self, index: int) -> dict[str, int | str]:
        """What `Task.about` says about the problem of a sample."""
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
            return self.task.sample(self.seed, problems, self.sizes.values[choices], self.regime)
        if first_samples is None:
            first_samples = np.zeros(len(self.sizes.values), np.int64)
        choices = draw_weighted(self._size_seed, indices, self.sizes.weights, first_samples)
        return self.task.sample(self.seed, indices, self.sizes.values[choices], self.regime)
