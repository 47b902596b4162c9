"""The stream of samples by index: which samples a batch has, and the batch itself."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from numba import njit
from torch.utils.data import Dataset, Sampler

from lit_retrieval.data.batch import Batch, collate
from lit_retrieval.errors import UserError
from lit_retrieval.tasks import Regime, Task
from lit_retrieval.tasks.random import derive_seed, draw_below, open_stream

Indices = npt.NDArray[np.int64]


class BatchIndices(Sampler[Indices]):
    """Which samples this rank takes from each global batch.

    Global batch b holds the samples from `b * batch_size` on; rank r of w takes every w-th of them from the r-th. So
    the global batches are the same for any number of ranks, and no sample comes twice.

    Args:
        batch_size: Samples in a global batch, over all ranks.
        rank, world_size: This rank, and how many there are.
        num_samples: Where to stop; None goes on for ever.
        first_batch: The global batch to begin with.
    """

    def __init__(
        self, batch_size: int, rank: int = 0, world_size: int = 1, num_samples: int | None = None, first_batch: int = 0
    ) -> None:
        if num_samples is None and batch_size % world_size:
            raise UserError(
                f"batch_size={batch_size} can't be shared by {world_size} ranks; write a multiple of {world_size} in "
                "data.batch_size, which counts the samples of all ranks"
            )
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.num_samples = num_samples
        self.first_batch = first_batch

    def __iter__(self) -> Iterator[Indices]:
        batch = self.first_batch
        while self.num_samples is None or batch * self.batch_size < self.num_samples:
            stop = (batch + 1) * self.batch_size
            stop = stop if self.num_samples is None else min(stop, self.num_samples)
            indices = np.arange(batch * self.batch_size + self.rank, stop, self.world_size)
            if len(indices):
                yield indices
            batch += 1


class FiniteBatchIndices(BatchIndices):
    """`BatchIndices` with an end, and so with a length; for evaluation.

    Args:
        batch_size: Samples in a global batch, over all ranks.
        num_samples: Where to stop.
        rank, world_size: This rank, and how many there are.
    """

    def __init__(self, batch_size: int, num_samples: int, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(batch_size, rank, world_size, num_samples)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class TranscriptStream(Dataset[Batch]):
    """The samples of one split, written when asked for; an item is a whole batch.

    Args:
        task: What is asked.
        regime: How it is answered.
        sizes: Sizes of the problems; each sample has one of them, all alike.
        seed: Seed of the experiment.
        split: `fit`, `validate`, `test` or `predict`; no two of them share a stream of random numbers.
    """

    def __init__(self, task: Task, regime: Regime, sizes: Sequence[int], seed: int, split: str) -> None:
        self.task = task
        self.regime = regime
        self.sizes = np.array(sizes, np.int64)
        self.seed = derive_seed(seed, split)
        self._size_seed = derive_seed(self.seed, "sizes")

    def __getitem__(self, indices: Indices) -> Batch:
        """The samples with these indices, `(batch,)`."""
        sizes = _draw_sizes(np.uint64(self._size_seed), indices, self.sizes)
        return collate(self.task.sample(self.seed, indices, sizes, self.regime))


@njit(cache=True)
def _draw_sizes(seed: np.uint64, indices: Indices, sizes: Indices) -> Indices:
    drawn = np.empty(len(indices), np.int64)
    for row in range(len(indices)):
        drawn[row] = sizes[draw_below(open_stream(seed, indices[row]), len(sizes))]
    return drawn
