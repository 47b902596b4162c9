"""Set disjointness: whether two sets have an element in common, or which."""

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from numba import njit

from lit_retrieval.conversation import Authors
from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_between, check_choice, check_numbers
from lit_retrieval.tasks.random import Counts, Stream, draw_below, draw_coin, open_stream, shuffle
from lit_retrieval.tasks.task import REGIMES, Regime, Task, Transcripts
from lit_retrieval.tasks.writing import COT, VANILLA, Rows, ask, blank_rows, put, say
from lit_retrieval.vocabulary import (
    ASK,
    END_SEARCH,
    FAILED,
    FIRST_WORD,
    MORE,
    MOST_WORDS,
    START,
    START_SEARCH,
    Ids,
    Vocabulary,
)

Question = Literal["element", "whether"]
BAR, ONE, YES, NO = range(FIRST_WORD, FIRST_WORD + 4)
FIRST_ELEMENT = NO + 1


class SetDisjointness(Task):
    """Two sets: which element is in both, or is there one? (Arora et al. 2024, Just read twice, arXiv:2407.05483.)

    A model that reads once must remember the whole first set to compare the second set with it. So a recurrence does
    better if the shorter set is first, or on a second reading (`ReadAgain`). A model may answer at once (`vanilla`),
    write the elements of the second set up to the common one (`cot`), or check by a search whether each of these occurs
    more than once (`retrieval`). A sample of size 5, retrieved tokens in brackets::

        prompt:    <s> e5 e2 e7 | e3 e2 ?
        vanilla:   e2
        cot:       e3? e2? e2
        retrieval: <StartSearch> e3 > 1 <EndSearch> [FAILED] <StartSearch> e2 > 1 <EndSearch> [e2] e2

    The size of a problem is the number of elements in both sets together. Problems are scored separately by the share
    of the first set.

    Args:
        num_elements: Number of elements in the vocabulary.
        first_shares: Sizes of the first set, as shares of the problem's size; a problem draws one of them.
        question: Which `element` is in both sets (exactly one is), or `whether` there is one (with probability 1/2).
        distribution: Sets of `random` elements; or `razborov`, the hard instances of Razborov (1992,
            doi:10.1016/0304-3975(92)90260-M): of the first 4 m - 1 elements, for two sets of m.
    """

    def __init__(
        self,
        num_elements: int = 512,
        first_shares: list[float] = [0.2, 0.8],  # noqa: B006 (jsonargparse shows it in --help; nothing changes it)
        question: Question = "element",
        distribution: Literal["random", "razborov"] = "random",
    ) -> None:
        check_numbers("data.task.init_args", MOST_WORDS, num_elements=(num_elements, 3))
        for share in first_shares or [-1.0]:
            check_between("each of first_shares", share, 0, 1, "data.task.init_args.first_shares")
        if len(set(first_shares)) < len(first_shares):
            raise UserError(f"first_shares must be different, got {first_shares}; set data.task.init_args.first_shares")
        check_choice("question", question, get_args(Question))
        check_choice("distribution", distribution, ("random", "razborov"))
        self.num_elements = num_elements
        self.first_shares = first_shares
        self.question = question
        self.distribution = distribution
        elements = [f"e{element}" for element in range(1, num_elements + 1)]
        self.vocabulary = Vocabulary(["|", "1", "YES", "NO", *elements, *(f"{element}?" for element in elements)])
        every = np.arange(FIRST_ELEMENT, FIRST_ELEMENT + num_elements, dtype=np.int32)
        self.answer_words = every if question == "element" else np.array([YES, NO], np.int32)
        self.chance = 1 / len(self.answer_words)
        self.kinds = tuple(f"first_{share:g}" for share in first_shares) if len(first_shares) > 1 else ()

    @property
    def chances(self) -> tuple[float, ...]:
        """The same for all shares."""
        return (self.chance,) * len(self.first_shares)

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        width = 3 + int(sizes.max()) + self.longest_reply(int(sizes.max()), regime)
        rows, kinds = blank_rows(len(indices), width, 1), np.zeros(len(indices), np.int64)
        _write_batch(
            np.uint64(seed), indices, sizes, self.num_elements, np.array(self.first_shares),
            self.question == "whether", self.distribution == "razborov", REGIMES.index(regime), kinds, rows,
        )  # fmt: skip
        return rows.transcripts(sizes, kinds)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The tokens after the prompt if the last element is the common one, or none is."""
        most = max(size - _first_size(size, share) for share in self.first_shares)
        return 1 + most * {"vanilla": 0, "cot": 1, "retrieval": 6}[regime]

    def shortest_reply(self, regime: Regime) -> int:
        """The tokens after the prompt if the first element is the common one."""
        return 1 + {"vanilla": 0, "cot": 1, "retrieval": 6}[regime]

    def longest_distance(self, size: int, regime: Regime) -> int:
        """From the first element of the second set to the end of the prompt."""
        return size if self.question == "element" else 0

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless there are two sets of `size` elements together."""
        most = (self.num_elements + 1) // 2 if self.distribution == "razborov" else self.num_elements
        if not 2 <= size <= most:
            raise UserError(
                f"size must be 2 to {most} for num_elements={self.num_elements}, got {size}; set data.sizes or "
                "data.task.init_args.num_elements"
            )


@njit(cache=True)
def _first_size(size: int, share: float) -> int:
    """The number of elements in the first set: the share, rounded, but neither set is empty."""
    return min(max(int(size * share + 0.5), 1), size - 1)


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, num_elements: int, shares: npt.NDArray[np.float64],
    is_whether: bool, is_razborov: bool, regime: int, kinds: Counts, rows: Rows,
) -> None:  # fmt: skip
    elements = np.arange(num_elements)
    for row in range(len(indices)):
        tokens, author, size = rows.tokens[row], rows.author[row], sizes[row]
        stream = open_stream(seed, indices[row])
        kinds[row] = draw_below(stream, len(shares))
        first = _first_size(size, shares[kinds[row]])
        universe = elements[: 2 * size - 1 if is_razborov else num_elements]
        common = _draw_sets(stream, universe, size, first, is_whether and draw_coin(stream) == 0)
        at = ask(tokens, author, 0, START)
        for place in range(size):
            if place == first:
                at = ask(tokens, author, at, BAR)
            at = ask(tokens, author, at, universe[place])
        at = rows.prompt_length[row] = ask(tokens, author, at, ASK)
        if regime != VANILLA:
            for place in range(first, size if common < 0 else common + 1):
                at = _look_for(tokens, author, at, universe[place], place == common, regime, num_elements)
        if is_whether:
            rows.answers[row, 0] = NO if common < 0 else YES
        else:
            rows.answers[row, 0], rows.distances[row, 0] = universe[common], size - common
        rows.length[row] = say(tokens, author, at, rows.answers[row, 0])


@njit(cache=True)
def _draw_sets(stream: Stream, universe: Counts, size: int, first: int, is_disjoint: bool) -> int:
    """Put the elements of both sets at the front of `universe`; returns where the second has the common one, or -1."""
    for place in range(len(universe)):
        universe[place] = FIRST_ELEMENT + place
    shuffle(stream, universe, size)
    if is_disjoint:
        return -1
    common = first + draw_below(stream, size - first)
    universe[common] = universe[draw_below(stream, first)]
    return common


@njit(cache=True)
def _look_for(
    tokens: Ids, author: Authors, at: int, element: int, is_common: bool, regime: int, num_elements: int
) -> int:
    """Write the step or the search about an element of the second set; returns the next position."""
    if regime == COT:
        return say(tokens, author, at, element + num_elements)
    for word in (START_SEARCH, element, MORE, ONE, END_SEARCH):
        at = say(tokens, author, at, word)
    return put(tokens, author, at, element if is_common else FAILED)
