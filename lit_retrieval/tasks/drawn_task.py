"""The base class of tasks that draw one problem at a time."""

from abc import abstractmethod
from typing import Any

import numpy as np

from lit_retrieval.ranges import check_at_least
from lit_retrieval.tasks.random import Counts
from lit_retrieval.tasks.task import Regime, Task


class DrawnTask(Task):
    """A task that generates its problems one by one, with `draw`.

    Attributes:
        num_probed: Number of samples of a size that estimate its longest reply.
    """

    num_probed = 256

    def __init__(self) -> None:
        self._longest: dict[tuple[int, Regime], int] = {}

    @abstractmethod
    def draw(self, rng: np.random.Generator, size: int) -> Any:
        """Draw a problem of this size."""

    def problem(self, seed: int, index: int, size: int) -> Any:
        """The problem of a sample; see `Task.sample`."""
        rng = np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))  # all 64 bits of each
        return self.draw(rng, size)

    @property
    def estimates_lengths(self) -> bool:
        """Whether `longest_reply` is an estimate from samples, also if a subclass has used one."""
        return type(self).longest_reply is DrawnTask.longest_reply or bool(self._longest)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """Twice the longest reply of `num_probed` samples; override it if that may be too short."""
        return self._probe(size, regime, np.arange(self.num_probed))

    def shortest_reply(self, regime: Regime) -> int:
        """Returns 1; override it if all replies are longer."""
        return 1

    def check_size(self, size: int) -> None:
        """Raise `UserError` for a size below 1; override it if `draw` takes other sizes."""
        check_at_least("size", size, 1, "data.sizes")

    def _probe(self, size: int, regime: Regime, indices: Counts) -> int:
        """Twice the longest reply of the samples with these indices, `(samples,)`, in the stream with the seed 0."""
        if (size, regime) not in self._longest:
            probed = self.sample(0, indices, np.full(len(indices), size), regime)
            self._longest[size, regime] = 2 * int((probed.length - probed.prompt_length).max())
        return self._longest[size, regime]
