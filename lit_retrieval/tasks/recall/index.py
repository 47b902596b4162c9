"""Index: the word at a position of a list."""

from typing import Literal, get_args

import numpy as np
from numba import njit

from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_choice, check_numbers
from lit_retrieval.retrieval import short_form
from lit_retrieval.tasks.queries import POSITION_PIECES, encode_pieces, search_length, search_with, search_word
from lit_retrieval.tasks.random import Counts, draw_below, open_stream
from lit_retrieval.tasks.task import REGIMES, Regime, Task, Transcripts, check_range
from lit_retrieval.tasks.writing import COT, RETRIEVAL, Rows, ask, blank_rows, say
from lit_retrieval.vocabulary import ASK, FIRST_WORD, MOST_WORDS, START, Ids, Vocabulary

Distribution = Literal["random", "random_access_code", "separated_code"]
QueryForm = Literal["short", "full", "recall"]
_SEPARATOR = FIRST_WORD + 2  # the word w3


class Index(Task):
    r"""A list of words, then a position: say the word there. (arXiv:2402.18510, Definition 4.2.)

    A model may answer at once (`vanilla`), count the positions up to the queried one (`cot`), or search for it
    (`retrieval`, Theorem 5.2). A sample of 4 words, retrieved tokens in brackets::

        prompt:    <s> w3 w1 w2 w1 ? 3
        vanilla:   w2
        cot:       1 2 3 w2
        retrieval: <StartSearch> @ 3 <EndSearch> [w2] w2

    The size of a problem is the length of its list.

    Args:
        max_size: The longest list that the vocabulary has numerals for.
        num_words: Words in the vocabulary for lists; each position draws one.
        distribution: `random`; or `random_access_code`, the hard instances of Theorem 4.6: each position is a random
            bit, w1 or w2, so that n positions are n bits to remember; or `separated_code`, those of Proposition 5.1:
            every second word is w3, which associative recall finds for w1 and w2; the other words are bits, and are
            asked for.
        query_form: How a search is written: `short` (`@ 3`); `full`, the regular expression of Theorem 5.2 word by
            word (`^(?:\S+\s+){ 3 }(\S+)`); or `recall`, for a separated code: a search for the word after the first
            w3, the only useful result of associative recall.
    """

    def __init__(
        self,
        max_size: int = 128,
        num_words: int = 128,
        distribution: Distribution = "random",
        query_form: QueryForm = "short",
    ) -> None:
        check_numbers("data.task.init_args", MOST_WORDS, max_size=(max_size, 1), num_words=(num_words, 2))
        check_choice("distribution", distribution, get_args(Distribution))
        check_choice("query_form", query_form, get_args(QueryForm))
        self._is_separated = distribution == "separated_code"
        if query_form == "recall" and not self._is_separated:
            raise UserError(f"query_form: recall needs distribution: separated_code, got {distribution!r}")
        if self._is_separated and num_words < 3:
            raise UserError(f"num_words must be 3 or more for a separated code, got {num_words}; set num_words")
        self.max_size = max_size
        self.num_words = num_words
        self.distribution = distribution
        self.query_form = query_form
        words, positions = (f"w{word}" for word in range(1, num_words + 1)), map(str, range(1, max_size + 1))
        pieces = POSITION_PIECES["full" if query_form == "full" else "short"]
        self.vocabulary = Vocabulary([*words, *positions, *(piece for piece in pieces if query_form == "full")])
        self.answer_words = np.arange(FIRST_WORD, FIRST_WORD + num_words, dtype=np.int32)
        self._num_drawn = num_words if distribution == "random" else 2
        self.chance = 1 / self._num_drawn
        self._pieces = encode_pieces(self.vocabulary, pieces)

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        rows = blank_rows(len(indices), 3 + int(sizes.max()) + self.longest_reply(int(sizes.max()), regime), 1)
        _write_batch(
            np.uint64(seed), indices, sizes, self._num_drawn, self.num_words, REGIMES.index(regime), self._pieces,
            self._is_separated, self.query_form == "recall", rows,
        )  # fmt: skip
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The tokens after the question; in `cot` if the last position is queried."""
        search = 4 if self.query_form == "recall" else search_length(self._pieces)
        return {"vanilla": 1, "cot": size + 1, "retrieval": search + 1}[regime]

    def shortest_reply(self, regime: Regime) -> int:
        """The tokens after the question; in `cot` if the first position is queried."""
        return self.longest_reply(1, regime)

    def longest_distance(self, size: int, regime: Regime) -> int:
        """From the first word to the end of the question."""
        return size + 1

    def random_bits(self, size: int) -> int | None:
        """The bits of a random access code; see `Task.random_bits`."""
        if self.distribution == "random":
            return None
        return (size + 1) // 2 if self._is_separated else size

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless there is a list of this length, and numerals for its positions."""
        check_range(size, 1, self.max_size)


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, num_drawn: int, num_words: int, regime: int, pieces: Ids,
    is_separated: bool, is_recalled: bool, rows: Rows,
) -> None:  # fmt: skip
    for row in range(len(indices)):
        tokens, author, size = rows.tokens[row], rows.author[row], sizes[row]
        stream, numeral = open_stream(seed, indices[row]), FIRST_WORD + num_words - 1
        at = ask(tokens, author, 0, START)
        for place in range(size):
            if is_separated and place % 2 == 1:
                at = ask(tokens, author, at, _SEPARATOR)
            else:
                at = ask(tokens, author, at, FIRST_WORD + draw_below(stream, num_drawn))
        position = 1 + (2 * draw_below(stream, (size + 1) // 2) if is_separated else draw_below(stream, size))
        at = ask(tokens, author, at, ASK)
        at = ask(tokens, author, at, numeral + position)
        rows.prompt_length[row] = at
        rows.answers[row, 0], rows.distances[row, 0] = tokens[position], size + 2 - position
        if regime == COT:
            for counted in range(1, position + 1):
                at = say(tokens, author, at, numeral + counted)
        elif regime == RETRIEVAL and is_recalled:
            found = short_form.word_after(tokens[:at], np.array([_SEPARATOR], np.int32))
            at = search_word(tokens, author, at, _SEPARATOR, found)
        elif regime == RETRIEVAL:
            name = np.array([numeral + position], np.int32)
            at = search_with(tokens, author, at, pieces, name, tokens[position])
        rows.length[row] = say(tokens, author, at, tokens[position])
