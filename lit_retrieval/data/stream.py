"""The stream of samples by index: which samples a batch has, and the batch itself."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from lit_retrieval.data.batch import Batch, collate
from lit_retrieval.errors import UserError
from lit_retrieval.tasks import SampleFile, SampleStream

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


class BatchDataset(Dataset[Batch]):
    """The samples of one split, written when asked for; an item is a whole batch.

    Args:
        samples: The samples.
        first_samples: The sample from which on each size is drawn, `(sizes,)`; in memory that workers share, so that
            they see what a curriculum enters while they run. All sizes are drawn from the first sample on if absent.
    """

    def __init__(self, samples: SampleStream, first_samples: Tensor | None = None) -> None:
        self.samples = samples
        self.first_samples = first_samples

    def __getitem__(self, indices: Indices) -> Batch:
        """The samples with these indices, `(batch,)`."""
        first_samples = None if self.first_samples is None else self.first_samples.numpy()
        return collate(self.samples.take(indices, first_samples))


class FileDataset(Dataset[Batch]):
    """The samples of a file over and over, in another order each time; an item is a whole batch.

    Args:
        samples: The samples.
        seed: Names the orders; None keeps that of the file.
    """

    def __init__(self, samples: SampleFile, seed: int | None = None) -> None:
        self.samples = samples
        self.seed = seed
        self._pass, self._order = -1, np.arange(0)  # the pass that was read last, and its order

    def __getitem__(self, indices: Indices) -> Batch:
        """The samples with these indices, `(batch,)`; each pass over the file takes as many as it has."""
        passes, places = np.divmod(indices, len(self.samples))
        if self.seed is not None:
            for number in np.unique(passes):  # a batch may lie in several
                is_in_pass = passes == number
                places[is_in_pass] = self._order_of(int(number))[places[is_in_pass]]
        return collate(self.samples.take(places))

    def _order_of(self, number: int) -> Indices:
        if number != self._pass:
            rng = np.random.Generator(np.random.Philox(key=[self.seed or 0, number]))
            self._pass, self._order = number, rng.permutation(len(self.samples))
        return self._order
