"""Associative recall: the value of a key in a list of pairs."""

import numpy as np
from numba import njit

from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_choice, check_numbers
from lit_retrieval.tasks.queries import search_length
from lit_retrieval.tasks.random import Counts, draw_below, open_stream, shuffle
from lit_retrieval.tasks.recall.pairs import FIRST_KEY, ask_for_key, pair_words, query_pieces, write_pairs
from lit_retrieval.tasks.task import REGIMES, Distribution, QueryForm, Regime, Task, Transcripts
from lit_retrieval.tasks.writing import Rows, ask, blank_rows
from lit_retrieval.vocabulary import ASK, MOST_WORDS, START, Ids, Vocabulary


class AssociativeRecall(Task):
    r"""Pairs of a key and a value, then a key: say its value. (arXiv:2402.18510, Definition 4.3.)

    Keys are distinct; values need not be. Each of several queries, about distinct keys, follows the answer to the one
    before, so one pass over the pairs gives several answers to learn from. A model may answer at once (`vanilla`),
    write the keys from the first to the queried one (`cot`), or search for it (`retrieval`, Theorem 5.2). A sample of
    size 6, retrieved tokens in brackets::

        prompt:    <s> k5 v1 k2 v4 k7 v1 ? k2
        vanilla:   v4
        cot:       k5 k2 v4
        retrieval: <StartSearch> k2 <EndSearch> [v4] v4

    The size of a problem is the number of tokens in its pairs, twice the number of pairs.

    Args:
        num_keys: Keys in the vocabulary; a problem draws its own without replacement.
        num_values: Values in the vocabulary; each pair draws one.
        num_queries: Queried keys, one after another.
        distribution: `random`; or `random_access_code`, the hard instances of Theorem 4.6: the keys k1, k2, ... in
            order, and for each a random bit, v1 or v2, so that n pairs are n bits to remember.
        query_form: How a search is written: `short` (`k2`), or `full`, the regular expression of Theorem 5.2 word by
            word (`(?<!\S) k2 \s+(\S+)`).
    """

    def __init__(
        self,
        num_keys: int = 128,
        num_values: int = 128,
        num_queries: int = 1,
        distribution: Distribution = "random",
        query_form: QueryForm = "short",
    ) -> None:
        numbers = {"num_keys": (num_keys, 1), "num_values": (num_values, 2), "num_queries": (num_queries, 1)}
        check_numbers("data.task.init_args", MOST_WORDS, **numbers)
        check_choice("distribution", distribution, ("random", "random_access_code"))
        check_choice("query_form", query_form, ("short", "full"))
        self.num_keys = num_keys
        self.num_values = num_values
        self.num_queries = num_queries
        self.distribution = distribution
        self.query_form = query_form
        self.vocabulary = Vocabulary(pair_words(num_keys, num_values, query_form))
        self.answer_words = np.arange(FIRST_KEY + num_keys, FIRST_KEY + num_keys + num_values, dtype=np.int32)
        self.chance = 1 / 2 if distribution == "random_access_code" else 1 / num_values
        self._pieces = query_pieces(self.vocabulary, query_form)

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        width = 3 + int(sizes.max()) + self.longest_reply(int(sizes.max()), regime)
        rows = blank_rows(len(indices), width, self.num_queries)
        is_code = self.distribution == "random_access_code"
        _write_batch(
            np.uint64(seed), indices, sizes, self.num_keys, 2 if is_code else self.num_values, is_code,
            REGIMES.index(regime), self._pieces, rows,
        )  # fmt: skip
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The tokens after the first query, later ones included; in `cot` if all keys are at the end."""
        turn = {"vanilla": 1, "cot": size // 2 + 1, "retrieval": search_length(self._pieces) + 1}[regime]
        return self.num_queries * (turn + 1) - 1

    def shortest_reply(self, regime: Regime) -> int:
        """The tokens after the first query; in `cot` if all keys are at the beginning."""
        return self.longest_reply(2, regime)

    def longest_distance(self, size: int, regime: Regime) -> int:
        """From the first value of the pairs to the last query."""
        return size + self.longest_reply(size, regime)

    def random_bits(self, size: int) -> int | None:
        """The bits of a random access code; see `Task.random_bits`."""
        return size // 2 if self.distribution == "random_access_code" else None

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless `size` tokens are enough pairs for the queries, with enough keys."""
        if size < 2 or size % 2:
            raise UserError(f"size must be an even number, 2 or more, got {size}; set data.sizes")
        if size // 2 > self.num_keys:
            raise UserError(
                f"size={size} needs {size // 2} distinct keys, but num_keys={self.num_keys}; "
                "raise data.task.init_args.num_keys"
            )
        if size // 2 < self.num_queries:
            raise UserError(
                f"size={size} has {size // 2} pairs, but num_queries={self.num_queries}; "
                "lower data.task.init_args.num_queries"
            )


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, num_keys: int, num_values: int, is_code: bool, regime: int,
    pieces: Ids, rows: Rows,
) -> None:  # fmt: skip
    keys, values, queried = np.arange(num_keys), np.arange(num_keys), np.arange(num_keys)
    for row in range(len(indices)):
        tokens, author, num_pairs = rows.tokens[row], rows.author[row], sizes[row] // 2
        stream = open_stream(seed, indices[row])
        keys[:], queried[:num_pairs] = np.arange(num_keys), np.arange(num_pairs)
        if not is_code:
            shuffle(stream, keys, num_pairs)
        for pair in range(num_pairs):
            values[pair] = draw_below(stream, num_values)
        at = ask(tokens, author, 0, START)
        at = write_pairs(tokens, author, at, keys[:num_pairs], FIRST_KEY + num_keys, values)
        shuffle(stream, queried[:num_pairs], rows.answers.shape[1])
        at = ask(tokens, author, at, ASK)
        rows.prompt_length[row] = at + 1
        for query in range(rows.answers.shape[1]):
            at = ask_for_key(rows, row, at, query, 1 + 2 * queried[query], regime, pieces)
        rows.length[row] = at
