"""Joint recall: the value of a key in a context."""

import numpy as np
from numba import njit

from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_between, check_choice, check_numbers
from lit_retrieval.tasks.queries import encode_pieces, search_length, search_with
from lit_retrieval.tasks.random import Counts, draw_below, open_stream, shuffle
from lit_retrieval.tasks.task import REGIMES, QueryForm, Regime, Task, Transcripts
from lit_retrieval.tasks.writing import COT, RETRIEVAL, Rows, ask, blank_rows, say
from lit_retrieval.vocabulary import ASK, FIRST_WORD, MORE, MOST_WORDS, SPECIAL_WORDS, START, Ids, Vocabulary

# The query for the word after the first such key behind the first such context, in both forms.
_PIECES = {"short": ("", SPECIAL_WORDS[MORE], ""), "full": (r"(?<!\S)", r"\s.*?(?<!\S)", r"\s+(\S+)")}


class JointRecall(Task):
    r"""Contexts with the values of all keys in each, then a context and a key. (Zhan et al. 2025, arXiv:2507.00449.)

    Each context has every key once, in a separate random order, so neither the context nor the key alone tells the
    value. Several queries, about distinct cells of this table, come one after another, each after the answer to the one
    before. A model may answer at once (`vanilla`), write the contexts up to the queried one and then its keys up to the
    queried one (`cot`), or search for the key behind the context (`retrieval`). A sample of size 2 with 2 keys,
    retrieved tokens in brackets::

        prompt:    <s> c5 k1 v2 k2 v3 c4 k2 v1 k1 v3 ? c4 k1
        vanilla:   v3
        cot:       c5 c4 k2 k1 v3
        retrieval: <StartSearch> c4 > k1 <EndSearch> [v3] v3

    The size of a problem is the number of its contexts. The paper draws 5 to 16 contexts, with 5 to 16 keys, and asks
    for all cells, context by context, each answer written after its key.

    Args:
        num_contexts: Contexts in the vocabulary; a problem draws its own without replacement.
        num_keys: Number of keys; each context has all of them.
        num_values: Values in the vocabulary; each cell draws one.
        num_queries: Number of queried cells, one after another.
        query_form: How a search is written: `short` (`c4 > k1`), or `full`, a regular expression word by word
            (`(?<!\S) c4 \s.*?(?<!\S) k1 \s+(\S+)`).
    """

    def __init__(
        self,
        num_contexts: int = 16,
        num_keys: int = 16,
        num_values: int = 16,
        num_queries: int = 1,
        query_form: QueryForm = "short",
    ) -> None:
        numbers = {"num_contexts": (num_contexts, 1), "num_keys": (num_keys, 1), "num_values": (num_values, 2)}
        check_numbers("data.task.init_args", MOST_WORDS, **numbers, num_queries=(num_queries, 1))
        check_choice("query_form", query_form, ("short", "full"))
        self.num_contexts = num_contexts
        self.num_keys = num_keys
        self.num_values = num_values
        self.num_queries = num_queries
        self.query_form = query_form
        counts, pieces = {"c": num_contexts, "k": num_keys, "v": num_values}, _PIECES[query_form]
        words = (f"{kind}{one}" for kind, count in counts.items() for one in range(1, count + 1))
        self.vocabulary = Vocabulary([*words, *(pieces if query_form == "full" else ())])
        first_value = FIRST_WORD + num_contexts + num_keys
        self.answer_words = np.arange(first_value, first_value + num_values, dtype=np.int32)
        self.chance = 1 / num_values
        self._pieces = encode_pieces(self.vocabulary, pieces)

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        longest = int(sizes.max())
        width = 4 + longest * (1 + 2 * self.num_keys) + self.longest_reply(longest, regime)
        rows = blank_rows(len(indices), width, self.num_queries)
        _write_batch(
            np.uint64(seed), indices, sizes, self.num_contexts, self.num_keys, self.num_values, REGIMES.index(regime),
            self._pieces, rows,
        )  # fmt: skip
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The tokens after the first query, including later ones; in `cot` if all cells are near the end."""
        turn = {"vanilla": 1, "cot": size + self.num_keys + 1, "retrieval": search_length(self._pieces) + 1}[regime]
        return self.num_queries * (turn + 2) - 2

    def shortest_reply(self, regime: Regime) -> int:
        """The tokens after the first query; in `cot` if all cells are the first."""
        turn = {"vanilla": 1, "cot": 3, "retrieval": search_length(self._pieces) + 1}[regime]
        return self.num_queries * (turn + 2) - 2

    def longest_distance(self, size: int, regime: Regime) -> int:
        """From the first value to the last query."""
        return size * (1 + 2 * self.num_keys) + self.longest_reply(size, regime)

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless there are words for this many contexts, and at least as many cells as queries."""
        check_between("size", size, 1, self.num_contexts, "data.sizes or data.task.init_args.num_contexts")
        if size * self.num_keys < self.num_queries:
            raise UserError(
                f"size={size} has {size * self.num_keys} values, but num_queries={self.num_queries}; "
                "lower data.task.init_args.num_queries"
            )


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, num_contexts: int, num_keys: int, num_values: int, regime: int,
    pieces: Ids, rows: Rows,
) -> None:  # fmt: skip
    first_key, first_value = FIRST_WORD + num_contexts, FIRST_WORD + num_contexts + num_keys
    contexts, keys = np.arange(num_contexts), np.arange(num_keys)
    for row in range(len(indices)):
        tokens, author, size = rows.tokens[row], rows.author[row], sizes[row]
        stream, queried = open_stream(seed, indices[row]), np.arange(size * num_keys)
        contexts[:], keys[:] = np.arange(num_contexts), np.arange(num_keys)
        shuffle(stream, contexts, size)
        at = ask(tokens, author, 0, START)
        for context in range(size):
            at = ask(tokens, author, at, FIRST_WORD + contexts[context])
            shuffle(stream, keys, num_keys)
            for place in range(num_keys):
                at = ask(tokens, author, at, first_key + keys[place])
                at = ask(tokens, author, at, first_value + draw_below(stream, num_values))
        at = ask(tokens, author, at, ASK)
        rows.prompt_length[row] = at + 2
        shuffle(stream, queried, rows.answers.shape[1])
        for query in range(rows.answers.shape[1]):
            at = _ask_for_place(rows, row, at, query, queried[query], num_keys, regime, pieces)
        rows.length[row] = at


@njit(cache=True)
def _ask_for_place(
    rows: Rows, row: int, at: int, query: int, place: int, num_keys: int, regime: int, pieces: Ids
) -> int:
    """Write a question for a context and a key, and the reply; returns the next position."""
    tokens, author, block = rows.tokens[row], rows.author[row], 1 + 2 * num_keys
    heading = 1 + place // num_keys * block
    key = heading + 1 + 2 * (place % num_keys)
    names, value = np.array([tokens[heading], tokens[key]], np.int32), tokens[key + 1]
    for name in names:
        at = ask(tokens, author, at, name)
    rows.answers[row, query], rows.distances[row, query] = value, at - 1 - (key + 1)
    if regime == COT:
        for position in range(1, heading + 1, block):
            at = say(tokens, author, at, tokens[position])
        for position in range(heading + 1, key + 1, 2):
            at = say(tokens, author, at, tokens[position])
    elif regime == RETRIEVAL:
        at = search_with(tokens, author, at, pieces, names, value)
    return say(tokens, author, at, value)
