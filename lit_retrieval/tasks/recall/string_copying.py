"""String copying: repeat a string of words."""

import numpy as np
from numba import njit

from lit_retrieval.ranges import check_choice, check_numbers
from lit_retrieval.tasks.queries import POSITION_PIECES, encode_pieces, search_length, search_with
from lit_retrieval.tasks.random import Counts, draw_below, open_stream
from lit_retrieval.tasks.task import REGIMES, QueryForm, Regime, Task, Transcripts, check_range
from lit_retrieval.tasks.writing import COT, RETRIEVAL, Rows, ask, blank_rows, say
from lit_retrieval.vocabulary import ASK, FIRST_WORD, MOST_WORDS, START, Ids, Vocabulary


class StringCopying(Task):
    r"""A string of random words: repeat it. (Jelassi et al. 2024, Repeat After Me, arXiv:2402.01032.)

    Every word of the copy is an answer. A model may copy (`vanilla`), write the position before each word (`cot`), or
    search for each position (`retrieval`). A sample of size 3, retrieved tokens in brackets::

        prompt:    <s> w3 w1 w2 ?
        vanilla:   w3 w1 w2
        cot:       1 w3 2 w1 3 w2
        retrieval: <StartSearch> @ 1 <EndSearch> [w3] w3 <StartSearch> @ 2 <EndSearch> [w1] w1
                   <StartSearch> @ 3 <EndSearch> [w2] w2

    The size of a problem is the length of its string.

    Args:
        max_size: The longest string that the vocabulary has numerals for.
        vocab_size: Words in the vocabulary for strings (26 in the paper, its letters).
        query_form: How a search is written: `short` (`@ 3`), or `full`, a regular expression word by word
            (`^(?:\S+\s+){ 3 }(\S+)`).
    """

    def __init__(self, max_size: int = 128, vocab_size: int = 26, query_form: QueryForm = "short") -> None:
        check_numbers("data.task.init_args", MOST_WORDS, max_size=(max_size, 1), vocab_size=(vocab_size, 2))
        check_choice("query_form", query_form, ("short", "full"))
        self.max_size = max_size
        self.vocab_size = vocab_size
        self.query_form = query_form
        words, positions = (f"w{word}" for word in range(1, vocab_size + 1)), map(str, range(1, max_size + 1))
        pieces = POSITION_PIECES[query_form]
        self.vocabulary = Vocabulary([*words, *positions, *(piece for piece in pieces if query_form == "full")])
        self.answer_words = np.arange(FIRST_WORD, FIRST_WORD + vocab_size, dtype=np.int32)
        self.chance = 1 / vocab_size
        self._pieces = encode_pieces(self.vocabulary, pieces)

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        longest = int(sizes.max())
        rows = blank_rows(len(indices), 2 + longest + self.longest_reply(longest, regime), num_answers=longest)
        _write_batch(np.uint64(seed), indices, sizes, self.vocab_size, REGIMES.index(regime), self._pieces, rows)
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The tokens after the prompt; the same for all strings of a size."""
        return size * {"vanilla": 1, "cot": 2, "retrieval": search_length(self._pieces) + 1}[regime]

    def shortest_reply(self, regime: Regime) -> int:
        """The tokens after the prompt for a string of one word."""
        return self.longest_reply(1, regime)

    def longest_distance(self, size: int, regime: Regime) -> int:
        """From the first word to the end of the prompt."""
        return size

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless there is a string of this length, and numerals for its positions."""
        check_range(size, 1, self.max_size)


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, vocab_size: int, regime: int, pieces: Ids, rows: Rows
) -> None:
    for row in range(len(indices)):
        tokens, author, size = rows.tokens[row], rows.author[row], sizes[row]
        stream, numeral = open_stream(seed, indices[row]), FIRST_WORD + vocab_size - 1
        at = ask(tokens, author, 0, START)
        for _ in range(size):
            at = ask(tokens, author, at, FIRST_WORD + draw_below(stream, vocab_size))
        at = ask(tokens, author, at, ASK)
        rows.prompt_length[row] = at
        for position in range(1, size + 1):
            rows.answers[row, position - 1], rows.distances[row, position - 1] = tokens[position], size + 1 - position
            if regime == COT:
                at = say(tokens, author, at, numeral + position)
            elif regime == RETRIEVAL:
                name = np.array([numeral + position], np.int32)
                at = search_with(tokens, author, at, pieces, name, tokens[position])
            at = say(tokens, author, at, tokens[position])
        rows.length[row] = at
