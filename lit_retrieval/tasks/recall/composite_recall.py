"""Associative recall with keys of several words."""

import numpy as np
from numba import njit

from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_between, check_choice, check_numbers
from lit_retrieval.tasks.queries import encode_pieces, search_length, search_with
from lit_retrieval.tasks.random import Counts, draw_below, open_stream, shuffle
from lit_retrieval.tasks.recall.pairs import piece_words, query_pieces
from lit_retrieval.tasks.task import REGIMES, QueryForm, Regime, Task, Transcripts
from lit_retrieval.tasks.writing import COT, RETRIEVAL, Rows, ask, blank_rows, say
from lit_retrieval.vocabulary import ASK, FIRST_WORD, MOST_WORDS, START, Ids, Vocabulary

_LETTERS = "abcdefgh"  # prefixes of the first word of a key, of the second, ...


class CompositeRecall(Task):
    r"""Pairs of a key of several words and a value, then a key: say its value. (Zoology, arXiv:2312.04927.)

    As in its compositional MQAR, keys are cells of a grid. With P pairs and k words in a key, the j-th word is one of g
    words, where g is the smallest number for which g ** k is P or more. If g ** k is P, each combination is a key: each
    word is part of several keys, and the value depends on all words. Several queries, about distinct keys, come one
    after another, each after the answer to the one before. A model may answer at once (`vanilla`), write the keys from
    the first to the queried one (`cot`), or search for it (`retrieval`). A sample of size 12, retrieved tokens in
    brackets::

        prompt:    <s> a5 b2 v1 a3 b2 v4 a5 b7 v3 a3 b7 v1 ? a5 b7
        vanilla:   v3
        cot:       a5 b2 a3 b2 a5 b7 v3
        retrieval: <StartSearch> a5 b7 <EndSearch> [v3] v3

    The size of a problem is the number of tokens in its pairs. (Zoology's compositional MQAR, which is not in its
    paper, has full grids, distinct values and fillers. It asks for all keys, beside the words, at distances of a power
    law.)

    Args:
        key_words: Words of a key.
        num_words: Words in the vocabulary for each position in a key; a problem draws its own without replacement.
        num_values: Values in the vocabulary; each pair draws one.
        num_queries: Queried keys, one after another.
        query_form: How a search is written: `short` (`a5 b7`), or `full`, a regular expression word by word
            (`(?<!\S) a5 \s+ b7 \s+(\S+)`).
    """

    def __init__(
        self,
        key_words: int = 2,
        num_words: int = 16,
        num_values: int = 128,
        num_queries: int = 1,
        query_form: QueryForm = "short",
    ) -> None:
        numbers = {"num_words": (num_words, 2), "num_values": (num_values, 2), "num_queries": (num_queries, 1)}
        check_numbers("data.task.init_args", MOST_WORDS, **numbers)
        check_between("key_words", key_words, 2, len(_LETTERS), "data.task.init_args.key_words")
        check_choice("query_form", query_form, ("short", "full"))
        self.key_words = key_words
        self.num_words = num_words
        self.num_values = num_values
        self.num_queries = num_queries
        self.query_form = query_form
        parts = (f"{letter}{word}" for letter in _LETTERS[:key_words] for word in range(1, num_words + 1))
        values, pieces = (
            (f"v{value}" for value in range(1, num_values + 1)),
            query_pieces(query_form, "first", key_words),
        )
        self.vocabulary = Vocabulary([*parts, *values, *piece_words(pieces)])
        first_value = FIRST_WORD + key_words * num_words
        self.answer_words = np.arange(first_value, first_value + num_values, dtype=np.int32)
        self.chance = 1 / num_values
        self._pieces = encode_pieces(self.vocabulary, pieces)

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        longest = int(sizes.max())
        width = 2 + longest + self.key_words + self.longest_reply(longest, regime)
        rows = blank_rows(len(indices), width, self.num_queries)
        _write_batch(
            np.uint64(seed), indices, sizes, self.key_words, self.num_words, self.num_values, REGIMES.index(regime),
            self._pieces, rows,
        )  # fmt: skip
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The tokens after the first query, later ones included; in `cot` if all keys are at the end."""
        keys = self.key_words * size // (self.key_words + 1)
        turn = {"vanilla": 1, "cot": keys + 1, "retrieval": search_length(self._pieces) + 1}[regime]
        return self.num_queries * (turn + self.key_words) - self.key_words

    def shortest_reply(self, regime: Regime) -> int:
        """The tokens after the first query; in `cot` if all keys are at the beginning."""
        return self.longest_reply(self.key_words + 1, regime)

    def longest_distance(self, size: int, regime: Regime) -> int:
        """From the first value of the pairs to the last query."""
        return size + self.longest_reply(size, regime)

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless `size` tokens are enough pairs for the queries, with enough keys."""
        unit = self.key_words + 1
        if size % unit or size < self.num_queries * unit or size > unit * self.num_words**self.key_words:
            raise UserError(
                f"size must be a multiple of key_words + 1 = {unit}, from {self.num_queries * unit} for num_queries="
                f"{self.num_queries} to {unit * self.num_words**self.key_words} for num_words={self.num_words}, got "
                f"{size}; set data.sizes, or these in data.task.init_args"
            )


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, key_words: int, num_words: int, num_values: int, regime: int,
    pieces: Ids, rows: Rows,
) -> None:  # fmt: skip
    words, first_value = np.empty((key_words, num_words), np.int64), FIRST_WORD + key_words * num_words
    for row in range(len(indices)):
        tokens, author, num_pairs = rows.tokens[row], rows.author[row], sizes[row] // (key_words + 1)
        stream, side = open_stream(seed, indices[row]), 1
        while side**key_words < num_pairs:
            side += 1
        for place in range(key_words):
            words[place] = np.arange(num_words)
            shuffle(stream, words[place], side)
        cells, queried = np.arange(side**key_words), np.arange(num_pairs)
        shuffle(stream, cells, num_pairs)
        at = ask(tokens, author, 0, START)
        for pair in range(num_pairs):
            cell = cells[pair]
            for place in range(key_words):
                at = ask(tokens, author, at, FIRST_WORD + place * num_words + words[place, cell % side])
                cell //= side
            at = ask(tokens, author, at, first_value + draw_below(stream, num_values))
        at = ask(tokens, author, at, ASK)
        rows.prompt_length[row] = at + key_words
        shuffle(stream, queried, rows.answers.shape[1])
        for query in range(rows.answers.shape[1]):
            at = _ask_for_key(rows, row, at, query, queried[query], key_words, regime, pieces)
        rows.length[row] = at


@njit(cache=True)
def _ask_for_key(rows: Rows, row: int, at: int, query: int, pair: int, key_words: int, regime: int, pieces: Ids) -> int:
    """Write a question for the key of a pair, and the reply; returns the next position."""
    tokens, author, start = rows.tokens[row], rows.author[row], 1 + pair * (key_words + 1)
    key, value = tokens[start : start + key_words], tokens[start + key_words]
    for word in key:
        at = ask(tokens, author, at, word)
    rows.answers[row, query], rows.distances[row, query] = value, at - 1 - (start + key_words)
    if regime == COT:
        for position in range(1, start + key_words):
            if position % (key_words + 1) > 0:
                at = say(tokens, author, at, tokens[position])
    elif regime == RETRIEVAL:
        at = search_with(tokens, author, at, pieces, key, value)
    return say(tokens, author, at, value)
