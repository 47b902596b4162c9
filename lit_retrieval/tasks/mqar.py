"""Multi-query associative recall, as Zoology asks it."""

import numpy as np
import numpy.typing as npt
from numba import njit

from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_above, check_numbers
from lit_retrieval.tasks.pairs import FIRST_KEY, ask_for_key, pair_words, query_pieces, write_pairs
from lit_retrieval.tasks.random import Stream, draw_below, draw_share, open_stream, shuffle
from lit_retrieval.tasks.task import REGIMES, QueryForm, Regime, Task, Transcripts, check_choice
from lit_retrieval.tasks.writing import Authors, Counts, Rows, ask, blank_rows, search_length
from lit_retrieval.vocabulary import START, Ids, Vocabulary

BLANK = "_"
LARGEST_POWER = 16  # the 2**20th place has a weight of 2**300 then, and above 1 most queries come at the end anyway


class MQAR(Task):
    r"""Pairs of a key and a value, then each key once more among other words. (Arora et al. 2023, Zoology.)

    In multi-query associative recall (arXiv:2312.04927), the model says the value of each key at once when it comes the
    second time. No key comes twice among the pairs, and no value. How far behind them a key comes again follows a power
    law: of the places that are two words apart, the s-th is drawn with a weight of `s ** (power_a - 1)`, none twice. A
    model may answer at once (`vanilla`), go through the keys from the first to the one in question (`cot`), or search
    for it (`retrieval`). A sample of 12 words with 2 pairs, what the retriever writes in brackets::

        prompt:    <s> k5 v1 k2 v4 k1 v4 k2
        vanilla:   v4 k5 v1
        cot:       k5 k2 v4 k5 k5 v1
        retrieval: <StartSearch> k2 <EndSearch> [v4] v4 k5 <StartSearch> k5 <EndSearch> [v1] v1

    The size of a problem is its number of words in `vanilla`, without `<s>` (Zoology's input_seq_len). An answer stands
    where Zoology has one more random word, and what would come after the last is left out.

    Args:
        vocab_size: Keys and values together, half of each.
        num_kv_pairs: Pairs, each asked for once.
        power_a: Exponent of the power law, above 0 and up to 16; near 0 most queries come soon after the pairs, at 1
            all places are alike.
        random_non_queries: Fill the places between the queries with random keys and values, not with `_`.
        query_form: How a search is written: `short` (`k2`), or `full`, a regular expression word by word
            (`(?<!\S) k2 \s+(\S+)`).
    """

    def __init__(
        self,
        vocab_size: int = 8192,
        num_kv_pairs: int = 8,
        power_a: float = 0.01,
        random_non_queries: bool = True,
        query_form: QueryForm = "short",
    ) -> None:
        check_numbers("data.task.init_args", vocab_size=(vocab_size, 4), num_kv_pairs=(num_kv_pairs, 1))
        check_above("power_a", power_a, 0, "data.task.init_args.power_a", LARGEST_POWER)
        if num_kv_pairs > vocab_size // 2:
            raise UserError(
                f"num_kv_pairs={num_kv_pairs} needs as many distinct keys, but vocab_size={vocab_size} has "
                f"{vocab_size // 2}; raise data.task.init_args.vocab_size"
            )
        check_choice("query_form", query_form, ("short", "full"))
        self.vocab_size = vocab_size
        self.num_kv_pairs = num_kv_pairs
        self.power_a = power_a
        self.random_non_queries = random_non_queries
        self.query_form = query_form
        self._num_keys = self._num_values = vocab_size // 2
        self.vocabulary = Vocabulary([*pair_words(self._num_keys, self._num_values, query_form), BLANK])
        first_value = FIRST_KEY + self._num_keys
        self.answer_words = np.arange(first_value, first_value + self._num_values, dtype=np.int32)
        self.chance = 1 / self._num_values
        self._pieces = query_pieces(self.vocabulary, query_form)

    def write(
        self, seed: int, indices: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], regime: Regime
    ) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        longest = int(sizes.max())
        rows = blank_rows(len(indices), 1 + longest + self._reply_words(regime), self.num_kv_pairs)
        blank = -1 if self.random_non_queries else int(self.vocabulary.encode([BLANK])[0])
        _write_batch(
            np.uint64(seed), indices, sizes, self._num_keys, self._num_values, self._weights(longest), blank,
            REGIMES.index(regime), self._pieces, rows,
        )  # fmt: skip
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The words after the first query if it stands right behind the pairs and the last at the end."""
        return size - 3 * self.num_kv_pairs - 1 + self._reply_words(regime)

    def shortest_reply(self, regime: Regime) -> int:
        """The words after the first query if nothing stands between the queries."""
        return self.num_kv_pairs - 1 + self._reply_words(regime)

    def longest_distance(self, size: int, regime: Regime) -> int:
        """From the first value of the pairs to the last query."""
        return 2 * self.num_kv_pairs + self.longest_reply(size, regime)

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless the pairs fit into half of an even number of words, as in Zoology."""
        if size % 2 or size < 4 * self.num_kv_pairs:
            raise UserError(
                f"size={size} has no place for {self.num_kv_pairs} pairs and their queries; write even numbers from "
                f"{4 * self.num_kv_pairs} in data.sizes, or lower data.task.init_args.num_kv_pairs"
            )

    def _reply_words(self, regime: Regime) -> int:
        """The words of all replies, without the questions; in `cot` the i-th pair has i keys and a value."""
        turn = {"vanilla": 1, "cot": (self.num_kv_pairs + 3) / 2, "retrieval": search_length(self._pieces) + 1}[regime]
        return int(self.num_kv_pairs * turn)

    def _weights(self, size: int) -> npt.NDArray[np.float64]:
        """Weight of each place for a query, from the first behind the pairs, `(places,)`."""
        return np.arange(1.0, (size - 2 * self.num_kv_pairs) // 2 + 1) ** (self.power_a - 1)


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, num_keys: int, num_values: int, weights: npt.NDArray[np.float64],
    blank: int, regime: int, pieces: Ids, rows: Rows,
) -> None:  # fmt: skip
    num_pairs, keys, values = rows.answers.shape[1], np.arange(num_keys), np.arange(num_values)
    for row in range(len(indices)):
        tokens, author = rows.tokens[row], rows.author[row]
        stream, num_places = open_stream(seed, indices[row]), (sizes[row] - 2 * num_pairs) // 2
        for word in range(num_keys):  # a loop: slices of arange took a quarter of all the time
            keys[word] = values[word] = word
        shuffle(stream, keys, num_pairs)
        shuffle(stream, values, num_pairs)
        at = ask(tokens, author, 0, START)
        at = write_pairs(tokens, author, at, keys[:num_pairs], FIRST_KEY + num_keys, values)
        asked = _draw_places(stream, weights[:num_places], num_pairs)
        query = 0
        for place in range(num_places):
            if asked[place] >= 0:
                if query == 0:
                    rows.prompt_length[row] = at + 1
                at = ask_for_key(rows, row, at, query, 1 + 2 * asked[place], regime, pieces)
                query += 1
                if query == num_pairs:
                    break
            else:
                at = _fill(tokens, author, at, stream, num_keys + num_values, blank)
        rows.length[row] = at


@njit(cache=True)
def _draw_places(stream: Stream, weights: npt.NDArray[np.float64], count: int) -> Counts:
    """Which pair is asked for at each place, -1 for none: draws by weight, without replacement.

    The places with the smallest of exponential times E / weight, in their order, are such a draw (Efraimidis and
    Spirakis 2006, doi:10.1016/j.ipl.2005.11.003).
    """
    times = np.empty(len(weights))
    for place in range(len(weights)):
        times[place] = -np.log(1 - draw_share(stream)) / weights[place]
    asked = np.full(len(weights), -1, np.int64)
    drawn = np.flatnonzero(times <= np.partition(times, count - 1)[count - 1])
    asked[drawn[np.argsort(times[drawn])]] = np.arange(count)
    return asked


@njit(cache=True)
def _fill(tokens: Ids, author: Authors, at: int, stream: Stream, num_words: int, blank: int) -> int:
    """Write the two words of a place where nothing is asked; returns the next place."""
    for _ in range(2):
        at = ask(tokens, author, at, FIRST_KEY + draw_below(stream, num_words) if blank < 0 else blank)
    return at
