"""Counting: whether a numeral occurs more often than a threshold."""

import numpy as np
from numba import njit

from lit_retrieval.conversation import Authors
from lit_retrieval.ranges import check_choice, check_numbers
from lit_retrieval.tasks.queries import encode_pieces, search_length, search_with
from lit_retrieval.tasks.random import Counts, Stream, draw_below, draw_coin, open_stream, shuffle
from lit_retrieval.tasks.task import REGIMES, Distribution, QueryForm, Regime, Task, Transcripts, check_range
from lit_retrieval.tasks.writing import COT, RETRIEVAL, Rows, ask, blank_rows, say
from lit_retrieval.vocabulary import ASK, FAILED, FIRST_WORD, MOST_WORDS, START, Ids, Vocabulary

YES = FIRST_WORD
NO = YES + 1
ZERO = YES + 2  # the numeral n has the id ZERO + n

# Matches one occurrence more than a number, each without backtracking (`?>`), all before the question.
_PIECES = {"short": ("", ">", ""), "full": (r"^(?>.*?(?<!\S)(", r")(?!\S)){", r"}(?=.*\s\?)")}


class Counting(Task):
    r"""A list of numerals, then one and a threshold: does it occur more often? (arXiv:2402.18510, Definition 4.5.)

    A model may answer at once (`vanilla`), count (`cot`: each numeral, and how often the queried one has occurred so
    far), or search once for an occurrence beyond the threshold (`retrieval`, Theorem 5.2); FAILED then means that there
    is none. A sample of 4 numerals, retrieved tokens in brackets::

        prompt:    <s> 3 11 3 1 ? 3 1
        vanilla:   YES
        cot:       3 1 11 1 3 2 1 2 YES
        retrieval: <StartSearch> 3 > 1 <EndSearch> [3] YES

    The size of a problem is the length of its list; for `random_access_code`, it is the number of bits.

    Args:
        max_size: The largest size that the vocabulary has numerals for.
        num_words: Distinct numerals in lists of `random`.
        max_threshold: The largest threshold of `random`.
        distribution: `random`: the queried numeral occurs once more than the threshold or exactly as often, with
            probability 1/2 each; or `random_access_code`, the hard instances of Theorem 4.6: each of the numerals 1 to
            n is in the list with probability 1/2, and the threshold is 0.
        query_form: How a search is written: `short` (`3 > 1`), or `full`, a regular expression word by word
            (`^(?>.*?(?<!\S)( 3 )(?!\S)){ 2 }(?=.*\s\?)`); that of Theorem 5.2 finds no second occurrence.
    """

    def __init__(
        self,
        max_size: int = 128,
        num_words: int = 16,
        max_threshold: int = 8,
        distribution: Distribution = "random",
        query_form: QueryForm = "short",
    ) -> None:
        numbers = {"max_size": (max_size, 1), "num_words": (num_words, 2), "max_threshold": (max_threshold, 0)}
        check_numbers("data.task.init_args", MOST_WORDS, **numbers)
        check_choice("distribution", distribution, ("random", "random_access_code"))
        check_choice("query_form", query_form, ("short", "full"))
        self.max_size = max_size
        self.num_words = num_words
        self.max_threshold = max_threshold
        self.distribution = distribution
        self.query_form = query_form
        pieces = _PIECES[query_form]
        numerals = map(str, range(max(max_size, num_words) + 1))
        self.vocabulary = Vocabulary(["YES", "NO", *numerals, *(pieces if query_form == "full" else ())])
        self.answer_words = np.array([YES, NO], np.int32)
        self.chance = 0.5
        self._pieces = encode_pieces(self.vocabulary, pieces)

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        rows = blank_rows(len(indices), 4 + int(sizes.max()) + self.longest_reply(int(sizes.max()), regime), 1)
        _write_batch(
            np.uint64(seed), indices, sizes, self.distribution == "random_access_code", self.num_words,
            self.max_threshold, REGIMES.index(regime), self._pieces, int(self.query_form == "full"), rows,
        )  # fmt: skip
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The tokens after the question; in `cot` if the list has `size` numerals."""
        return {"vanilla": 1, "cot": 2 * size + 1, "retrieval": search_length(self._pieces) + 1}[regime]

    def shortest_reply(self, regime: Regime) -> int:
        """The tokens after the question; in `cot` if the list is empty, or has one numeral."""
        return self.longest_reply(0 if self.distribution == "random_access_code" else 1, regime)

    def random_bits(self, size: int) -> int | None:
        """The bits of a random access code; see `Task.random_bits`."""
        return size if self.distribution == "random_access_code" else None

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless there is a list of this length, and numerals for its counts."""
        check_range(size, 1, self.max_size)


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, is_code: bool, num_words: int, max_threshold: int, regime: int,
    pieces: Ids, added: int, rows: Rows,
) -> None:  # fmt: skip
    for row in range(len(indices)):
        tokens, author = rows.tokens[row], rows.author[row]
        stream = open_stream(seed, indices[row])
        if is_code:
            facts, word, threshold = _draw_subset(stream, sizes[row]), 1 + draw_below(stream, sizes[row]), 0
        else:
            facts, word, threshold = _draw_list(stream, sizes[row], num_words, max_threshold)
        at = ask(tokens, author, 0, START)
        for fact in facts:
            at = ask(tokens, author, at, ZERO + fact)
        at = ask(tokens, author, at, ASK)
        at = ask(tokens, author, at, ZERO + word)
        at = ask(tokens, author, at, ZERO + threshold)
        rows.prompt_length[row] = at
        is_more = (facts == word).sum() > threshold
        if regime == COT:
            at = _write_tally(tokens, author, at, facts, word)
        elif regime == RETRIEVAL:
            names = np.array([ZERO + word, ZERO + threshold + added], np.int32)
            at = search_with(tokens, author, at, pieces, names, ZERO + word if is_more else FAILED)
        rows.answers[row, 0] = YES if is_more else NO
        rows.length[row] = say(tokens, author, at, rows.answers[row, 0])


@njit(cache=True)
def _draw_list(stream: Stream, size: int, num_words: int, max_threshold: int) -> tuple[Counts, int, int]:
    """A list in which a numeral occurs once more than a threshold, or as often: list, numeral, threshold."""
    word, threshold = 1 + draw_below(stream, num_words), draw_below(stream, min(max_threshold, size - 1) + 1)
    count = threshold + draw_coin(stream)
    facts = np.empty(size, np.int64)
    for position in range(size):
        other = 1 + draw_below(stream, num_words - 1)
        facts[position] = word if position < count else other + (other >= word)
    shuffle(stream, facts, size)
    return facts, word, threshold


@njit(cache=True)
def _draw_subset(stream: Stream, size: int) -> Counts:
    """A random subset of 1 to `size`, in order; each by a fair coin."""
    bits = np.empty(size, np.int64)
    for bit in range(size):
        bits[bit] = draw_coin(stream)
    return np.flatnonzero(bits) + 1


@njit(cache=True)
def _write_tally(tokens: Ids, author: Authors, at: int, facts: Counts, word: int) -> int:
    """Write each numeral, and how often the queried one has occurred so far; returns the next position."""
    count = 0
    for fact in facts:
        count += fact == word
        at = say(tokens, author, at, ZERO + fact)
        at = say(tokens, author, at, ZERO + count)
    return at
