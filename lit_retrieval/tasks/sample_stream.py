"""The samples of one split, by their index."""

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from lit_retrieval.tasks.random import derive_seed, draw_weighted
from lit_retrieval.tasks.sizes import Sizes, SizeSpec
from lit_retrieval.tasks.task import Regime, Task, Transcripts, check_choice

Split = Literal["fit", "validate", "test", "predict"]


class SampleStream:
    """Endless samples; which ones, the arguments say alone.

    Args:
        task: What is asked.
        regime: How it is answered.
        sizes: Sizes of the problems; each sample draws one.
        seed: Seed of the experiment.
        split: `fit`, `validate`, `test` or `predict`; no two of them share a stream of random numbers.
    """

    def __init__(self, task: Task, regime: Regime, sizes: SizeSpec, seed: int, split: str) -> None:
        check_choice("split", split, get_args(Split))
        self.task = task
        self.regime = regime
        self.sizes = Sizes.parse(sizes)
        self.seed = derive_seed(seed, split)
        self._size_seed = np.uint64(derive_seed(self.seed, "sizes"))

    def take(self, indices: npt.NDArray[np.int64], first_samples: npt.NDArray[np.int64] | None = None) -> Transcripts:
        """Write samples.

        Args:
            indices: Which, `(batch,)`.
            first_samples: The sample from which on each size is drawn, `(sizes,)`; all from the first if absent.
        """
        if first_samples is None:
            first_samples = np.zeros(len(self.sizes.values), np.int64)
        choices = draw_weighted(self._size_seed, indices, self.sizes.weights, first_samples)
        return self.task.sample(self.seed, indices, self.sizes.values[choices], self.regime)
