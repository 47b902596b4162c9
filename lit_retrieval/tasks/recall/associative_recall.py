"""Associative recall: the value of a key in a list of pairs."""

from typing import get_args

import numpy as np
from numba import njit

from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_choice, check_numbers
from lit_retrieval.tasks.queries import encode_pieces, search_length
from lit_retrieval.tasks.random import Counts, Stream, draw_below, open_stream, shuffle
from lit_retrieval.tasks.recall.pairs import FIRST_KEY, Counted, ask_for_key, pair_words, query_pieces, write_pairs
from lit_retrieval.tasks.task import REGIMES, Distribution, QueryForm, Regime, Task, Transcripts
from lit_retrieval.tasks.writing import Rows, ask, blank_rows
from lit_retrieval.vocabulary import ASK, MOST_WORDS, START, Ids, Vocabulary


class AssociativeRecall(Task):
    r"""Pairs of a key and a value, then a key: say its value. (arXiv:2402.18510, Definition 4.3.)

    Keys are distinct; values may repeat. Several queries, about distinct keys, come one after another, each after the
    answer to the one before, so one pass over the pairs gives several answers to learn from. A model may answer at once
    (`vanilla`), write the keys from the first to the queried one (`cot`), or search for it (`retrieval`, Theorem 5.2).
    A sample of size 6, retrieved tokens in brackets::

        prompt:    <s> k5 v1 k2 v4 k7 v1 ? k2
        vanilla:   v4
        cot:       k5 k2 v4
        retrieval: <StartSearch> k2 <EndSearch> [v4] v4

    With `values_per_key`, each key occurs this many times, in random order, and its first or its newest value counts.
    If the newest counts, `cot` writes the keys from the last one back to the queried one, and a search (`> k2`) finds
    the last occurrence: `<s> k5 v1 k2 v4 k2 v3 k5 v2 ? k2` is answered by `k5 k2 v3`. A model that sums the values of a
    key, as linear attention does, can only guess among them; a delta rule overwrites them. (In Zoology's similar
    forgetting MQAR, all first values come before the second ones.)

    The size of a problem is the number of tokens in its pairs, twice the number of pairs.

    Args:
        num_keys: Keys in the vocabulary; a problem draws its own without replacement.
        num_values: Values in the vocabulary; each pair draws one.
        num_queries: Queried keys, one after another.
        distribution: `random`; or `random_access_code`, the hard instances of Theorem 4.6: the keys k1, k2, ... in
            order, each with a random bit, v1 or v2, so that n pairs are n bits to remember; with `values_per_key`, the
            list is repeated with other bits.
        query_form: How a search is written: `short` (`k2`), or `full`, the regular expression of Theorem 5.2 word by
            word (`(?<!\S) k2 \s+(\S+)`, or `^.*(?<!\S) k2 \s+(\S+)` for the newest value).
        values_per_key: Number of occurrences of each key.
        counts: The value of a key that counts: the `first` or the `newest`.
    """

    def __init__(
        self,
        num_keys: int = 128,
        num_values: int = 128,
        num_queries: int = 1,
        distribution: Distribution = "random",
        query_form: QueryForm = "short",
        values_per_key: int = 1,
        counts: Counted = "first",
    ) -> None:
        numbers = {"num_keys": (num_keys, 1), "num_values": (num_values, 2), "num_queries": (num_queries, 1)}
        numbers["values_per_key"] = (values_per_key, 1)
        check_numbers("data.task.init_args", MOST_WORDS, **numbers)
        check_choice("distribution", distribution, ("random", "random_access_code"))
        check_choice("query_form", query_form, ("short", "full"))
        check_choice("counts", counts, get_args(Counted))
        self.num_keys = num_keys
        self.num_values = num_values
        self.num_queries = num_queries
        self.distribution = distribution
        self.query_form = query_form
        self.values_per_key = values_per_key
        self.counts = counts
        pieces = query_pieces(query_form, counts)
        self.vocabulary = Vocabulary(pair_words(num_keys, num_values, pieces))
        self.answer_words = np.arange(FIRST_KEY + num_keys, FIRST_KEY + num_keys + num_values, dtype=np.int32)
        self.chance = 1 / 2 if distribution == "random_access_code" else 1 / num_values
        self._pieces = encode_pieces(self.vocabulary, pieces)

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        width = 3 + int(sizes.max()) + self.longest_reply(int(sizes.max()), regime)
        rows = blank_rows(len(indices), width, self.num_queries)
        is_code = self.distribution == "random_access_code"
        _write_batch(
            np.uint64(seed), indices, sizes, self.num_keys, 2 if is_code else self.num_values, is_code,
            self.values_per_key, self.counts == "newest", REGIMES.index(regime), self._pieces, rows,
        )  # fmt: skip
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The tokens after the first query, including later ones; in `cot` if all keys are far from its start."""
        most_keys = size // 2 - (self.values_per_key - 1)
        turn = {"vanilla": 1, "cot": most_keys + 1, "retrieval": search_length(self._pieces) + 1}[regime]
        return self.num_queries * (turn + 1) - 1

    def shortest_reply(self, regime: Regime) -> int:
        """The tokens after the first query; in `cot` if all keys are near its start."""
        return self.longest_reply(2 * self.values_per_key, regime)

    def longest_distance(self, size: int, regime: Regime) -> int:
        """From the first value of the pairs to the last query."""
        return size + self.longest_reply(size, regime)

    def random_bits(self, size: int) -> int | None:
        """The bits of a random access code; see `Task.random_bits`."""
        return size // 2 // self.values_per_key if self.distribution == "random_access_code" else None

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless `size` tokens are enough pairs for the queries, with enough keys."""
        unit = 2 * self.values_per_key
        if size < unit or size % unit:
            multiple = "an even number" if unit == 2 else f"a multiple of 2 * values_per_key = {unit}"
            raise UserError(f"size must be {multiple}, {unit} or more, got {size}; set data.sizes")
        if size // unit > self.num_keys:
            raise UserError(
                f"size={size} needs {size // unit} distinct keys, but num_keys={self.num_keys}; "
                "raise data.task.init_args.num_keys"
            )
        if size // unit < self.num_queries:
            raise UserError(
                f"size={size} has {size // unit} {'pairs' if unit == 2 else 'keys'}, but num_queries="
                f"{self.num_queries}; lower data.task.init_args.num_queries"
            )


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, num_keys: int, num_values: int, is_code: bool, repeats: int,
    is_newest: bool, regime: int, pieces: Ids, rows: Rows,
) -> None:  # fmt: skip
    keys, values, queried = np.arange(num_keys * repeats), np.arange(num_keys * repeats), np.arange(num_keys)
    for row in range(len(indices)):
        tokens, author, num_pairs = rows.tokens[row], rows.author[row], sizes[row] // 2
        stream = open_stream(seed, indices[row])
        _draw_keys(stream, keys, num_keys, num_pairs, repeats, is_code)
        for pair in range(num_pairs):
            values[pair] = draw_below(stream, num_values)
        at = ask(tokens, author, 0, START)
        at = write_pairs(tokens, author, at, keys[:num_pairs], FIRST_KEY + num_keys, values)
        _list_counted(keys[:num_pairs], num_keys, is_newest, queried)
        shuffle(stream, queried[: num_pairs // repeats], rows.answers.shape[1])
        at = ask(tokens, author, at, ASK)
        rows.prompt_length[row] = at + 1
        start = 2 * num_pairs - 1 if is_newest else 1
        for query in range(rows.answers.shape[1]):
            at = ask_for_key(rows, row, at, query, 1 + 2 * queried[query], regime, pieces, start)
        rows.length[row] = at


@njit(cache=True)
def _draw_keys(stream: Stream, keys: Counts, num_keys: int, num_pairs: int, repeats: int, is_code: bool) -> None:
    """Draw the keys of the pairs into the front of `keys`, each as often as it occurs."""
    distinct = num_pairs // repeats
    keys[:num_keys] = np.arange(num_keys)
    if not is_code:
        shuffle(stream, keys[:num_keys], distinct)
    for pair in range(distinct, num_pairs):
        keys[pair] = keys[pair - distinct]
    if not is_code and repeats > 1:
        shuffle(stream, keys[:num_pairs], num_pairs)


@njit(cache=True)
def _list_counted(keys: Counts, num_keys: int, is_newest: bool, counted: Counts) -> None:
    """Write the index of each key's first pair, or of its newest, into the front of `counted`."""
    is_seen, found = np.zeros(num_keys, np.bool_), 0
    for step in range(len(keys)):
        pair = len(keys) - 1 - step if is_newest else step
        if not is_seen[keys[pair]]:
            is_seen[keys[pair]] = True
            counted[found] = pair
            found += 1
