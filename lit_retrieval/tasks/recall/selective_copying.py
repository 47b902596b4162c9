"""Selective copying: repeat the words among noise."""

import numpy as np
from numba import njit

from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_choice, check_numbers
from lit_retrieval.tasks.queries import POSITION_PIECES, encode_pieces, search_length, search_with
from lit_retrieval.tasks.random import Counts, draw_below, open_stream
from lit_retrieval.tasks.task import REGIMES, QueryForm, Regime, Task, Transcripts
from lit_retrieval.tasks.writing import COT, RETRIEVAL, VANILLA, Rows, ask, ask_beside, blank_rows, say
from lit_retrieval.vocabulary import ASK, FIRST_WORD, MOST_WORDS, START, Ids, Vocabulary

NOISE = "_"


class SelectiveCopying(Task):
    r"""Words at random places among noise: repeat them in their order. (Gu and Dao 2023, Mamba, arXiv:2312.00752.)

    The spacing of the words is random, so a fixed convolution can't solve it (section 4.1.1). In `vanilla`, as in the
    paper's Figure 2, the model reads noise after the `?` and is asked for the words beside it. In `cot` it writes the
    position before each word, in `retrieval` it searches for each position. A sample of size 5 with 2 words, retrieved
    tokens in brackets::

        prompt:    <s> _ w3 _ w1 _ ?
        vanilla:   {w3} _ {w1} _
        cot:       2 w3 4 w1
        retrieval: <StartSearch> @ 2 <EndSearch> [w3] w3 <StartSearch> @ 4 <EndSearch> [w1] w1

    The size of a problem is the number of words and of noise together (4,096 in appendix E.1). All sets of positions
    are equally likely; in `MADCopying` there is always a word directly before the `?`.

    Args:
        max_size: The largest size that the vocabulary has numerals for.
        vocab_size: Number of words, including the noise `_`; each copied word is drawn from the others.
        num_tokens: Number of words to copy.
        query_form: How a search is written: `short` (`@ 2`), or `full`, a regular expression word by word
            (`^(?:\S+\s+){ 2 }(\S+)`).
    """

    def __init__(
        self, max_size: int = 256, vocab_size: int = 16, num_tokens: int = 16, query_form: QueryForm = "short"
    ) -> None:
        numbers = {"max_size": (max_size, 1), "vocab_size": (vocab_size, 3), "num_tokens": (num_tokens, 1)}
        check_numbers("data.task.init_args", MOST_WORDS, **numbers)
        check_choice("query_form", query_form, ("short", "full"))
        self.max_size = max_size
        self.vocab_size = vocab_size
        self.num_tokens = num_tokens
        self.query_form = query_form
        words, positions = (f"w{word}" for word in range(1, vocab_size)), map(str, range(1, max_size + 1))
        pieces = POSITION_PIECES[query_form]
        self.vocabulary = Vocabulary([*words, NOISE, *positions, *(one for one in pieces if query_form == "full")])
        self.answer_words = np.arange(FIRST_WORD, FIRST_WORD + vocab_size - 1, dtype=np.int32)
        self.chance = 1 / (vocab_size - 1)
        self._pieces = encode_pieces(self.vocabulary, pieces)

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        longest = int(sizes.max())
        rows = blank_rows(len(indices), 2 + longest + self.longest_reply(longest, regime), self.num_tokens)
        _write_batch(np.uint64(seed), indices, sizes, self.vocab_size, REGIMES.index(regime), self._pieces, rows)
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The tokens after the prompt; the same for all problems."""
        return self.num_tokens * {"vanilla": 1, "cot": 2, "retrieval": search_length(self._pieces) + 1}[regime]

    def shortest_reply(self, regime: Regime) -> int:
        """The tokens after the prompt; the same for all problems."""
        return self.longest_reply(0, regime)

    def longest_distance(self, size: int, regime: Regime) -> int:
        """From the first word to the `?`, or to the noise that the last answer is beside."""
        return size + self.num_tokens

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless there is room for the words, and numerals for their positions."""
        if not self.num_tokens <= size <= self.max_size:
            raise UserError(
                f"size must be {self.num_tokens} (num_tokens) to {self.max_size} (max_size), got {size}; set "
                "data.sizes, or these in data.task.init_args"
            )


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, vocab_size: int, regime: int, pieces: Ids, rows: Rows
) -> None:
    num_tokens, noise = rows.answers.shape[1], FIRST_WORD + vocab_size - 1
    places = np.empty(num_tokens, np.int64)
    for row in range(len(indices)):
        tokens, author, answers, size = rows.tokens[row], rows.author[row], rows.answers[row], sizes[row]
        stream, copied = open_stream(seed, indices[row]), 0
        at = ask(tokens, author, 0, START)
        for place in range(1, size + 1):
            if draw_below(stream, size + 1 - place) < num_tokens - copied:
                places[copied], answers[copied] = place, FIRST_WORD + draw_below(stream, vocab_size - 1)
                at = ask(tokens, author, at, answers[copied])
                copied += 1
            else:
                at = ask(tokens, author, at, noise)
        at = rows.prompt_length[row] = ask(tokens, author, at, ASK)
        for copied in range(num_tokens):
            asked_at = at - 1 if regime == VANILLA else size + 1
            rows.distances[row, copied] = asked_at - places[copied]
            if regime == VANILLA:
                at = ask_beside(tokens, author, at, noise)
                continue
            if regime == COT:
                at = say(tokens, author, at, noise + places[copied])
            elif regime == RETRIEVAL:
                name = np.array([noise + places[copied]], np.int32)
                at = search_with(tokens, author, at, pieces, name, answers[copied])
            at = say(tokens, author, at, answers[copied])
        rows.length[row] = at
