"""Multi-query associative recall, as in Zoology."""

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from numba import njit

from lit_retrieval.conversation import Authors
from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_above, check_choice, check_numbers
from lit_retrieval.tasks.queries import encode_pieces, search_length
from lit_retrieval.tasks.random import Counts, Stream, draw_below, draw_share, open_stream, shuffle
from lit_retrieval.tasks.recall.pairs import (
    FIRST_KEY,
    ask_beside_key,
    ask_for_key,
    pair_words,
    query_pieces,
    write_pairs,
)
from lit_retrieval.tasks.task import REGIMES, QueryForm, Regime, Task, Transcripts
from lit_retrieval.tasks.writing import Rows, ask, ask_beside, blank_rows
from lit_retrieval.vocabulary import MOST_WORDS, START, Ids, Vocabulary

Answers = Literal["beside", "written"]
Filler = bool | Literal["unlisted"]
Flags = npt.NDArray[np.bool_]
BLANK = "_"
LARGEST_POWER = 16  # then the weight of slot 2**20 is 2**300; above 1, most queries come at the end anyway


class MQAR(Task):
    r"""Pairs of a key and a value, then each key once more among other words. (Arora et al. 2023, Zoology.)

    In multi-query associative recall (arXiv:2312.04927), the model writes the value of each key when the key occurs
    again. Keys and values of the pairs are distinct. The distances of the queries follow a power law: after the pairs
    come slots of two tokens, and slot s is drawn with weight `s ** (power_a - 1)`, without replacement. A model may
    answer at once (`vanilla`), write the keys from the first to the queried one (`cot`), or search for it
    (`retrieval`). A sample of size 12 with 2 pairs, retrieved tokens in brackets::

        prompt:    <s> k5 v1 k2 v4 k1 v4 k2
        vanilla:   {v4} v3 k5 {v1} k1
        cot:       k5 k2 v4 k5 k5 v1
        retrieval: <StartSearch> k2 <EndSearch> [v4] v4 k5 <StartSearch> k5 <EndSearch> [v1] v1

    The size of a problem is its number of tokens in `vanilla`, without `<s>` (Zoology's input_seq_len). In `vanilla`,
    as in Zoology, the model is asked for the value at the key, and then reads a random word, not its answer. With
    `answers: written`, as in the other regimes, the value takes the position of that word. Since no value occurs twice,
    a model can then guess the later values by elimination: with P pairs it gets (1 + 1/2 + ... + 1/P) / P of them
    right, 0.52 with 4 pairs, without recalling any. A transcript ends with the last answer, or with the word beside it.
    The first pairs tend to be asked for first, as in Zoology: with 4 pairs in 64 tokens, the j-th value answers the
    j-th query with probability 0.28, without a look at the key.

    Between the queries, and beside the answers, Zoology has its token 0 or, by default, a random token of its whole
    vocabulary: any key or value, including those of the pairs, or 0. So a key of the pairs may occur again with another
    value after it, before or after it is asked for, with probability P / vocab_size at each of these positions. The
    value in the list remains the right one. With `unlisted`, no key of the pairs occurs there.

    Args:
        vocab_size: Number of keys and values together, half of each.
        num_kv_pairs: Number of pairs, each queried once.
        power_a: Exponent of the power law, above 0 and up to 16; near 0 most queries come soon after the pairs, at 1
            all slots are equally likely.
        random_non_queries: Words between the queries and beside the answers: random keys and values (`true`, as in
            Zoology), the same without the keys of the pairs (`unlisted`), or `_` (`false`).
        query_form: How a search is written: `short` (`k2`), or `full`, a regular expression word by word
            (`(?<!\S) k2 \s+(\S+)`).
        answers: Position of the answers in `vanilla`: `beside` the words that the model reads, or `written` among them.
    """

    def __init__(
        self,
        vocab_size: int = 8192,
        num_kv_pairs: int = 8,
        power_a: float = 0.01,
        random_non_queries: Filler = True,
        query_form: QueryForm = "short",
        answers: Answers = "beside",
    ) -> None:
        check_numbers("data.task.init_args", MOST_WORDS, vocab_size=(vocab_size, 4), num_kv_pairs=(num_kv_pairs, 1))
        check_above("power_a", power_a, 0, "data.task.init_args.power_a", LARGEST_POWER)
        if num_kv_pairs > vocab_size // 2:
            raise UserError(
                f"num_kv_pairs={num_kv_pairs} needs as many distinct keys, but vocab_size={vocab_size} has "
                f"{vocab_size // 2}; raise data.task.init_args.vocab_size"
            )
        check_choice("query_form", query_form, ("short", "full"))
        check_choice("answers", answers, get_args(Answers))
        if not isinstance(random_non_queries, bool):
            check_choice("random_non_queries", random_non_queries, ("true", "false", "unlisted"))
        self.vocab_size = vocab_size
        self.num_kv_pairs = num_kv_pairs
        self.power_a = power_a
        self.random_non_queries = random_non_queries
        self.query_form = query_form
        self.answers = answers
        self._num_keys = self._num_values = vocab_size // 2
        pieces = query_pieces(query_form)
        self.vocabulary = Vocabulary([*pair_words(self._num_keys, self._num_values, pieces), BLANK])
        first_value = FIRST_KEY + self._num_keys
        self.answer_words = np.arange(first_value, first_value + self._num_values, dtype=np.int32)
        self.chance = 1 / self._num_values
        self._pieces = encode_pieces(self.vocabulary, pieces)

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        longest = int(sizes.max())
        rows = blank_rows(len(indices), 1 + longest + self._reply_tokens(regime), self.num_kv_pairs)
        blank = -1 if self.random_non_queries else int(self.vocabulary.encode([BLANK])[0])
        _write_batch(
            np.uint64(seed), indices, sizes, self._num_keys, self._num_values, self._weights(longest), blank,
            self.random_non_queries == "unlisted", REGIMES.index(regime), self._pieces, self._is_beside(regime), rows,
        )  # fmt: skip
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The tokens after the first query if it follows the pairs and the last query is at the end."""
        return size - 3 * self.num_kv_pairs - 1 + self._reply_tokens(regime)

    def shortest_reply(self, regime: Regime) -> int:
        """The tokens after the first query if nothing is between the queries."""
        return self.num_kv_pairs - 1 + self._reply_tokens(regime)

    def longest_distance(self, size: int, regime: Regime) -> int:
        """From the first value of the pairs to the last query."""
        return 2 * self.num_kv_pairs + self.longest_reply(size, regime)

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless the pairs fit into half of an even number of tokens, as in Zoology."""
        if size % 2 or size < 4 * self.num_kv_pairs:
            raise UserError(
                f"size must be an even number, {4 * self.num_kv_pairs} or more for num_kv_pairs={self.num_kv_pairs}, "
                f"got {size}; set data.sizes, or lower data.task.init_args.num_kv_pairs"
            )

    def _reply_tokens(self, regime: Regime) -> int:
        """The tokens of all replies, without the queries; in `cot` the i-th pair has i keys and a value."""
        turn = {"vanilla": 1, "cot": (self.num_kv_pairs + 3) / 2, "retrieval": search_length(self._pieces) + 1}[regime]
        return int(self.num_kv_pairs * turn)

    def _is_beside(self, regime: Regime) -> bool:
        return regime == "vanilla" and self.answers == "beside"

    def _weights(self, size: int) -> npt.NDArray[np.float64]:
        """Weight of each slot after the pairs for a query, `(slots,)`."""
        return np.arange(1.0, (size - 2 * self.num_kv_pairs) // 2 + 1) ** (self.power_a - 1)


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, num_keys: int, num_values: int, weights: npt.NDArray[np.float64],
    blank: int, spares_listed: bool, regime: int, pieces: Ids, is_beside: bool, rows: Rows,
) -> None:  # fmt: skip
    num_pairs, keys, values = rows.answers.shape[1], np.arange(num_keys), np.arange(num_values)
    is_spared = np.zeros(num_keys + num_values, np.bool_)
    for row in range(len(indices)):
        tokens, author = rows.tokens[row], rows.author[row]
        stream, num_slots = open_stream(seed, indices[row]), (sizes[row] - 2 * num_pairs) // 2
        for word in range(num_keys):  # a loop, since slices of arange took a quarter of the time
            keys[word] = values[word] = word
        shuffle(stream, keys, num_pairs)
        shuffle(stream, values, num_pairs)
        at = ask(tokens, author, 0, START)
        at = write_pairs(tokens, author, at, keys[:num_pairs], FIRST_KEY + num_keys, values)
        is_spared[keys[:num_pairs]] = spares_listed
        asked = _draw_slots(stream, weights[:num_slots], num_pairs)
        query = 0
        for slot in range(num_slots):
            if asked[slot] >= 0:
                if query == 0:
                    rows.prompt_length[row] = at + 1
                pair = 1 + 2 * asked[slot]
                if is_beside:
                    at = ask_beside_key(rows, row, at, query, pair)
                    at = ask_beside(tokens, author, at, _filler(stream, is_spared, blank))
                else:
                    at = ask_for_key(rows, row, at, query, pair, regime, pieces)
                query += 1
                if query == num_pairs:
                    break
            else:
                at = _fill(tokens, author, at, stream, is_spared, blank)
        is_spared[keys[:num_pairs]] = False
        rows.length[row] = at


@njit(cache=True)
def _draw_slots(stream: Stream, weights: npt.NDArray[np.float64], count: int) -> Counts:
    """The pair queried at each slot, -1 for none, drawn by weight without replacement.

    Taking the slots with the smallest E / weight in ascending order, with exponential random numbers E, is a draw of
    this kind (Efraimidis and Spirakis 2006, doi:10.1016/j.ipl.2005.11.003).
    """
    times = np.empty(len(weights))
    for slot in range(len(weights)):
        times[slot] = -np.log(1 - draw_share(stream)) / weights[slot]
    asked = np.full(len(weights), -1, np.int64)
    drawn = np.flatnonzero(times <= np.partition(times, count - 1)[count - 1])
    asked[drawn[np.argsort(times[drawn])]] = np.arange(count)
    return asked


@njit(cache=True)
def _fill(tokens: Ids, author: Authors, at: int, stream: Stream, is_spared: Flags, blank: int) -> int:
    """Write the two tokens of a slot without a query; returns the next position."""
    for _ in range(2):
        at = ask(tokens, author, at, _filler(stream, is_spared, blank))
    return at


@njit(cache=True)
def _filler(stream: Stream, is_spared: Flags, blank: int) -> int:
    """The blank; if it is negative, a random word that is not marked in `is_spared (keys and values,)`."""
    if blank >= 0:
        return blank
    word = draw_below(stream, len(is_spared))
    while is_spared[word]:
        word = draw_below(stream, len(is_spared))
    return FIRST_KEY + word
