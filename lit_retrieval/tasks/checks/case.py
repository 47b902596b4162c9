"""A task under check, and samples of it."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from lit_retrieval.conformance import BrokenRuleError
from lit_retrieval.errors import UserError
from lit_retrieval.tasks.random import Counts
from lit_retrieval.tasks.task import Regime, Task, Transcripts


class Row(NamedTuple):
    """A transcript without its padding: lists, which can be compared."""

    tokens: list[int]
    author: list[int]
    answers: list[int]
    prompt_length: int
    kind: int


class Case(NamedTuple):
    """A task to check.

    Args:
        task: The task.
        sizes: Sizes of the problems.
        regimes: The regimes to write.
        num_samples: Samples for each regime.
        written: Its class_path and init_args; None where a rule needs none.
    """

    task: Task
    sizes: tuple[int, ...]
    regimes: tuple[Regime, ...]
    num_samples: int = 64
    written: dict[str, Any] | None = None

    def sample(self, regime: Regime, indices: Sequence[int] | Counts | None = None, seed: int = 0) -> Transcripts:
        """Transcripts of a regime, sizes in turn; all indices if absent. What the task refuses breaks the rule."""
        chosen = np.arange(self.num_samples) if indices is None else np.ascontiguousarray(indices, np.int64)
        try:
            return self.task.sample(
                seed, chosen, np.resize(self.sizes, self.num_samples)[chosen].astype(np.int64), regime
            )
        except UserError as error:
            raise BrokenRuleError(f"in regime {regime}: {error}") from error

    def rows(self, regime: Regime, indices: Sequence[int] | Counts | None = None, seed: int = 0) -> list[Row]:
        """The same without padding."""
        return rows_of(self.sample(regime, indices, seed))


def rows_of(transcripts: Transcripts) -> list[Row]:
    """The transcripts without their padding."""
    return [
        Row(
            transcripts.tokens[row, :length].tolist(), transcripts.author[row, :length].tolist(),
            transcripts.answers_of(row), int(transcripts.prompt_length[row]), int(transcripts.kinds[row]),
        )
        for row, length in enumerate(transcripts.length)
    ]  # fmt: skip


@contextmanager
def other_random_numbers(seed: int) -> Iterator[None]:
    """Another state of the global random numbers inside; the old one after it."""
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
