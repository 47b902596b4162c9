"""The types of a task: a batch of transcripts, and what every task can do."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from lit_retrieval.conversation import Author, Span, spans
from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_between
from lit_retrieval.vocabulary import PAD, Ids, Vocabulary

Regime = Literal["vanilla", "cot", "retrieval"]
REGIMES: tuple[Regime, ...] = get_args(Regime)
QueryForm = Literal["short", "full"]


@dataclass(frozen=True)
class Transcripts:
    """A batch of transcripts, filled up with `<pad>` at the right.

    Args:
        tokens: Ids, `(batch, time)`.
        author: `Author` of each word, `(batch, time)`.
        length: Words in each row, `(batch,)`.
        prompt_length: Words before the model's first, `(batch,)`.
        answers: The right answers in the order in which they are asked for, `(batch, answers)`; PAD fills up rows that
            have fewer.
        sizes: Size of each problem, in the task's own measure, `(batch,)`.
        distances: How many words before the end of its question each answer stands in the prompt, `(batch, answers)`;
            0 where there is no such place.
        kinds: Which of the task's `kinds` each problem is, `(batch,)`.
    """

    tokens: Ids
    author: npt.NDArray[np.int8]
    length: npt.NDArray[np.int64]
    prompt_length: npt.NDArray[np.int64]
    answers: Ids
    sizes: npt.NDArray[np.int64]
    distances: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tokens)

    def turns(self, row: int) -> Iterator[Ids]:
        """What the user writes in this row, token ids `(time,)` each: the prompt, then what follows each answer."""
        return (self.tokens[row, start:stop] for author, start, stop in self.spans(row) if author == Author.PROMPT)

    def spans(self, row: int) -> Iterator[Span]:
        """The spans of this row, each of one author."""
        return spans(self.author[row, : self.length[row]])

    def answers_of(self, row: int) -> list[int]:
        """The right answers of this row, without padding."""
        answers: list[int] = self.answers[row][self.answers[row] != PAD].tolist()
        return answers


class Task(ABC):
    """A family of problems, and the transcripts in which a model is to answer them.

    Attributes:
        vocabulary: All words that any size up to the largest needs.
        answer_words: Ids of the words that end a turn when the model writes one, `(words,)`.
        chance: Share of right answers among blind guesses.
        regimes: The regimes that the task has.
        kinds: Names of the kinds of problems that are reported apart; none unless there are several.
    """

    vocabulary: Vocabulary
    answer_words: Ids
    chance: float
    regimes: tuple[Regime, ...] = REGIMES
    kinds: tuple[str, ...] = ()

    @property
    def chances(self) -> tuple[float, ...]:
        """`chance` for each of the `kinds`; one number where there is one kind of problem."""
        return (self.chance,)

    def sample(
        self, seed: int, indices: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], regime: Regime
    ) -> Transcripts:
        """Write transcripts, sample i a function of `(seed, i, size)` and the task's own arguments alone.

        Raises `UserError` for a regime or a size that is not there.

        Args:
            seed: Names a stream of samples, 0 to 2**64 - 1.
            indices: Which samples of the stream, `(batch,)`.
            sizes: Size of each, `(batch,)`.
            regime: `vanilla` (the answer alone), `cot` (a written algorithm first) or `retrieval` (with searches).
        """
        self.check_request(sizes, regime)
        return self.write(seed, indices, sizes, regime)

    def check_request(self, sizes: npt.NDArray[np.int64], regime: Regime) -> None:
        """Raise `UserError` unless the task has the regime, and problems of all of the sizes, `(sizes,)`."""
        if regime not in self.regimes:
            raise UserError(
                f"{type(self).__name__} has no regime {regime!r}; write one of {', '.join(self.regimes)} in data.regime"
            )
        for size in np.unique(sizes):
            self.check_size(int(size))

    @abstractmethod
    def write(
        self, seed: int, indices: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], regime: Regime
    ) -> Transcripts:
        """Write transcripts of a regime and of sizes that have been checked; see `sample`."""

    @abstractmethod
    def longest_reply(self, size: int, regime: Regime) -> int:
        """An upper bound on the words after the prompt in a right transcript, retrieved words included."""

    @abstractmethod
    def shortest_reply(self, regime: Regime) -> int:
        """A lower bound on the words after the prompt in a right transcript, for any size."""

    @abstractmethod
    def check_size(self, size: int) -> None:
        """Raise `UserError` if there is no problem of this size, or if it needs more words than there are."""

    def longest_distance(self, size: int, regime: Regime) -> int:
        """An upper bound on the `distances` of problems of this size; 0 if answers don't stand in the prompt."""
        return 0

    def random_bits(self, size: int) -> int | None:
        """How many fair and independent bits a problem of this size holds, any one of which may be asked for.

        None if its problems are not such a random access code; then the ceiling of Theorem 4.6 says nothing about it.
        """
        return None


def check_choice(argument: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `UserError` unless `value` is one of the choices for a task's argument."""
    if value not in choices:
        raise UserError(f"there is no {argument}={value!r}; write {' or '.join(choices)}")


def check_range(size: int, smallest: int, max_size: int) -> None:
    """Raise `UserError` unless `size` is at least the smallest problem's, and the vocabulary has words for it."""
    check_between("size", size, smallest, max_size, "data.sizes or data.task.init_args.max_size")
