"""Datasets of batches, and the samplers that choose the samples of each batch."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from lit_retrieval.data.batch import Batch, collate
from lit_retrieval.errors import UserError
from lit_retrieval.tasks import SampleFile, SampleStream

Indices = npt.NDArray[np.int64]


class BatchIndices(Sampler[Indices]):
    """Yields this rank's sample indices of each global batch.

    Each global batch holds the next `batch_size` samples; rank r of w takes samples r, r + w, r + 2w, ... of it. So
    the global batches are the same for any number of ranks, and no sample is repeated.

    Args:
        batch_size: Samples in a global batch, over all ranks.
        rank, world_size: This rank, and the number of ranks.
        num_samples: Samples in total; endless if None.
        first_sample: Returns the index of the first sample; called at the start of each epoch. `int`, which returns 0,
            if absent.
    """

    def __init__(
        self,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        num_samples: int | None = None,
        first_sample: Callable[[], int] = int,
    ) -> None:
        if num_samples is None and batch_size % world_size:
            raise UserError(
                f"batch_size must be a multiple of {world_size}, the number of ranks, got {batch_size}; set "
                "data.batch_size, which counts the samples of all ranks"
            )
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.num_samples = num_samples
        self.first_sample = first_sample

    def __iter__(self) -> Iterator[Indices]:
        start = self.first_sample()
        while self.num_samples is None or start < self.num_samples:
            stop = start + self.batch_size
            stop = stop if self.num_samples is None else min(stop, self.num_samples)
            indices = np.arange(start + self.rank, stop, self.world_size)
            if len(indices):
                yield indices
            start += self.batch_size


class FiniteBatchIndices(BatchIndices):
    """`BatchIndices` of finite length, for evaluation.

    Args:
        batch_size: Samples in a global batch, over all ranks.
        num_samples: Samples in total.
        rank, world_size: This rank, and the number of ranks.
        order: A permutation of the sample indices, `(num_samples,)`.
    """

    def __init__(
        self, batch_size: int, num_samples: int, rank: int = 0, world_size: int = 1, order: Indices | None = None
    ) -> None:
        super().__init__(batch_size, rank, world_size, num_samples)
        self._order = order
        whole, rest = divmod(num_samples, batch_size)
        self._length = whole * (batch_size > rank) + (rest > rank)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Indices]:
        return super().__iter__() if self._order is None else (self._order[batch] for batch in super().__iter__())


class Passes:
    """Repeats a fixed number of samples, in a new random order on each pass.

    Args:
        count: Samples in a pass.
        seed: Seed of the orders; None keeps the samples in their own order.
    """

    def __init__(self, count: int, seed: int | None = None) -> None:
        self.count = count
        self.seed = seed
        self._pass, self._order = -1, np.arange(0)  # the latest pass, and its order

    def positions(self, indices: Indices) -> Indices:
        """Map indices of the endless stream to samples, `(batch,)`."""
        passes, positions = np.divmod(indices, self.count)
        if self.seed is not None:
            for number in np.unique(passes):  # a batch may span several
                is_in_pass = passes == number
                positions[is_in_pass] = self._order_of(int(number))[positions[is_in_pass]]
        return positions

    def _order_of(self, number: int) -> Indices:
        if number != self._pass:
            rng = np.random.Generator(np.random.Philox(key=[self.seed or 0, number]))
            self._pass, self._order = number, rng.permutation(self.count)
        return self._order


class BatchDataset(Dataset[Batch]):
    """The samples of one split, generated on demand; an item is a whole batch.

    Args:
        samples: The samples.
        first_samples: For each size, the index of the first sample that may have it, `(sizes,)`; all zero if absent. It
            is in memory shared with the workers, so that they see a curriculum's changes.
        passes: Repeats the first samples; if absent, none is repeated.
        every_token: Whether all next tokens are targets; see `collate`.
    """

    def __init__(
        self,
        samples: SampleStream,
        first_samples: Tensor | None = None,
        passes: Passes | None = None,
        every_token: bool = False,
    ) -> None:
        self.samples = samples
        self.first_samples = first_samples
        self.passes = passes
        self.every_token = every_token

    def __getitem__(self, indices: Indices) -> Batch:
        """The samples with these indices, `(batch,)`."""
        if self.passes is not None:
            indices = self.passes.positions(indices)
        first_samples = None if self.first_samples is None else self.first_samples.numpy()
        return collate(self.samples.take(indices, first_samples), self.every_token)


class FileDataset(Dataset[Batch]):
    """The samples of a file, repeated in a new order on each pass; an item is a whole batch.

    Args:
        samples: The samples.
        seed: Seed of the orders; None keeps the order of the file.
        every_token: Whether all next tokens are targets; see `collate`.
    """

    def __init__(self, samples: SampleFile, seed: int | None = None, every_token: bool = False) -> None:
        self.samples = samples
        self.every_token = every_token
        self.passes = Passes(len(samples), seed)

    def __getitem__(self, indices: Indices) -> Batch:
        """The samples with these indices, `(batch,)`; a pass is the whole file."""
        return collate(self.samples.take(self.passes.positions(indices)), self.every_token)
