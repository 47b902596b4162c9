"""Induction heads: the word after the first of two signs."""

import numpy as np
from numba import njit

from lit_retrieval.ranges import check_choice, check_numbers
from lit_retrieval.tasks.queries import encode_pieces, search_length, search_with
from lit_retrieval.tasks.random import Counts, draw_below, open_stream
from lit_retrieval.tasks.recall.pairs import piece_words, query_pieces
from lit_retrieval.tasks.task import REGIMES, QueryForm, Regime, Task, Transcripts, check_range
from lit_retrieval.tasks.writing import COT, RETRIEVAL, Rows, ask, blank_rows, say
from lit_retrieval.vocabulary import FIRST_WORD, MOST_WORDS, START, Ids, Vocabulary

SIGN = "!"


class InductionHeads(Task):
    r"""Random words, a sign among them and at their end: say what stood after the first sign. (Mamba, H3.)

    The task of arXiv:2312.00752, section 4.1.2, which takes it from H3 (arXiv:2212.14052). A model may answer at once
    (`vanilla`), count the positions up to the sign (`cot`), or search for it (`retrieval`). A sample of size 7,
    retrieved tokens in brackets::

        prompt:    <s> w3 w1 ! w2 w4 w1 !
        vanilla:   w2
        cot:       1 2 3 w2
        retrieval: <StartSearch> ! <EndSearch> [w2] w2

    The size of a problem is the number of its tokens without `<s>` (256 in training, and up to 2 ** 20 in tests). The
    position of the first sign is uniform.

    Args:
        max_size: The largest size that the vocabulary has numerals for.
        vocab_size: Words, the sign included.
        query_form: How a search is written: `short` (`!`), or `full`, a regular expression word by word
            (`(?<!\S) ! \s+(\S+)`).
    """

    def __init__(self, max_size: int = 256, vocab_size: int = 16, query_form: QueryForm = "short") -> None:
        numbers = {"max_size": (max_size, 3), "vocab_size": (vocab_size, 3)}
        check_numbers("data.task.init_args", MOST_WORDS, **numbers)
        check_choice("query_form", query_form, ("short", "full"))
        self.max_size = max_size
        self.vocab_size = vocab_size
        self.query_form = query_form
        words, positions = (f"w{word}" for word in range(1, vocab_size)), map(str, range(1, max_size + 1))
        pieces = query_pieces(query_form)
        self.vocabulary = Vocabulary([*words, SIGN, *positions, *piece_words(pieces)])
        self.answer_words = np.arange(FIRST_WORD, FIRST_WORD + vocab_size - 1, dtype=np.int32)
        self.chance = 1 / (vocab_size - 1)
        self._pieces = encode_pieces(self.vocabulary, pieces)

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        longest = int(sizes.max())
        rows = blank_rows(len(indices), 1 + longest + self.longest_reply(longest, regime), num_answers=1)
        _write_batch(np.uint64(seed), indices, sizes, self.vocab_size, REGIMES.index(regime), self._pieces, rows)
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The tokens after the prompt; in `cot` if the first sign is the third from the end."""
        return {"vanilla": 1, "cot": size - 1, "retrieval": search_length(self._pieces) + 1}[regime]

    def shortest_reply(self, regime: Regime) -> int:
        """The tokens after the prompt; in `cot` if the first sign is at the beginning."""
        return self.longest_reply(3, regime)

    def longest_distance(self, size: int, regime: Regime) -> int:
        """From the second token to the last."""
        return size - 2

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless there is room for two signs and a word, and numerals for the positions."""
        check_range(size, 3, self.max_size)


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, vocab_size: int, regime: int, pieces: Ids, rows: Rows
) -> None:
    sign = FIRST_WORD + vocab_size - 1
    for row in range(len(indices)):
        tokens, author, size = rows.tokens[row], rows.author[row], sizes[row]
        stream = open_stream(seed, indices[row])
        first = 1 + draw_below(stream, size - 2)
        at = ask(tokens, author, 0, START)
        for place in range(1, size):
            at = ask(tokens, author, at, sign if place == first else FIRST_WORD + draw_below(stream, vocab_size - 1))
        at = rows.prompt_length[row] = ask(tokens, author, at, sign)
        answer = rows.answers[row, 0] = tokens[first + 1]
        rows.distances[row, 0] = size - (first + 1)
        if regime == COT:
            for counted in range(1, first + 1):
                at = say(tokens, author, at, sign + counted)
        elif regime == RETRIEVAL:
            at = search_with(tokens, author, at, pieces, np.array([sign], np.int32), answer)
        rows.length[row] = say(tokens, author, at, answer)
