"""Associative recall: which value stands after this key?"""

import numpy as np
import numpy.typing as npt
from numba import njit

from lit_retrieval.errors import UserError
from lit_retrieval.tasks.random import Stream, draw_below, open_stream, shuffle
from lit_retrieval.tasks.task import REGIMES, Regime, Task, Transcripts
from lit_retrieval.tasks.writing import Authors, ask, say, search_word_after
from lit_retrieval.vocabulary import ASK, SPECIAL_WORDS, START, Ids, Vocabulary

FIRST_KEY = len(SPECIAL_WORDS)


class AssociativeRecall(Task):
    """Pairs of a key and a value, then a key: say its value. (arXiv:2402.18510, Definition 4.3.)

    No key comes twice; values may. With several queries each is asked once the one before it has been answered, so one
    pass over the pairs gives several answers to learn from; no key is asked for twice. A model may answer at once
    (`vanilla`), go through the keys from the first to the one in question (`cot`), or search for it (`retrieval`,
    Theorem 5.2). A sample with 6 words of pairs, what the retriever writes in brackets::

        prompt:    <s> k5 v1 k2 v4 k7 v1 ? k2
        vanilla:   v4
        cot:       k5 k2 v4
        retrieval: <StartSearch> k2 <EndSearch> [v4] v4

    The size of a problem is the number of words in its pairs, twice the number of pairs.

    Args:
        num_keys: Keys in the vocabulary; a problem's own are drawn from them without replacement.
        num_values: Values in the vocabulary; each pair draws one.
        num_queries: Keys that are asked for, one after another.
    """

    def __init__(self, num_keys: int = 128, num_values: int = 128, num_queries: int = 1) -> None:
        if min(num_keys, num_values - 1, num_queries) < 1:
            raise UserError(
                f"num_keys={num_keys}, num_values={num_values}, num_queries={num_queries} leave nothing to recall; "
                "write at least 1 key, 2 values and 1 query"
            )
        self.num_keys = num_keys
        self.num_values = num_values
        self.num_queries = num_queries
        keys = [f"k{key}" for key in range(1, num_keys + 1)]
        self.vocabulary = Vocabulary([*keys, *(f"v{value}" for value in range(1, num_values + 1))])
        self.answer_words = np.arange(FIRST_KEY + num_keys, len(self.vocabulary), dtype=np.int32)
        self.chance = 1 / num_values

    def write(
        self, seed: int, indices: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], regime: Regime
    ) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        batch, width = len(indices), 3 + int(sizes.max()) + self.longest_reply(int(sizes.max()), regime)
        tokens, author = np.zeros((batch, width), np.int32), np.zeros((batch, width), np.int8)
        lengths, answers = np.empty(batch, np.int64), np.empty((batch, self.num_queries), np.int32)
        _write_batch(
            np.uint64(seed), indices, sizes, self.num_keys, self.num_values, REGIMES.index(regime),
            tokens, author, lengths, answers,
        )  # fmt: skip
        width = int(lengths.max(initial=0))
        return Transcripts(tokens[:, :width], author[:, :width], lengths, sizes + 3, answers, sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The words after the first key asked for, the later ones included; in `cot` if all stand at the end."""
        turn = {"vanilla": 1, "cot": size // 2 + 1, "retrieval": 5}[regime]
        return self.num_queries * (turn + 1) - 1

    def shortest_reply(self, regime: Regime) -> int:
        """The words after the first key asked for; in `cot` if all stood at the beginning."""
        turn = {"vanilla": 1, "cot": 2, "retrieval": 5}[regime]
        return self.num_queries * (turn + 1) - 1

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless `size` words are pairs enough for the queries, and there are keys for them."""
        if size < 2 or size % 2:
            raise UserError(f"size={size} words are no list of pairs; write even numbers from 2 in data.sizes")
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
    seed: np.uint64, indices: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], num_keys: int, num_values: int,
    regime: int, tokens: Ids, author: Authors, lengths: npt.NDArray[np.int64], answers: Ids,
) -> None:  # fmt: skip
    keys, places = np.arange(num_keys), np.arange(num_keys)
    for row in range(len(indices)):
        num_pairs, num_queries = sizes[row] // 2, answers.shape[1]
        stream = open_stream(seed, indices[row])
        keys[:], places[:num_pairs] = np.arange(num_keys), np.arange(num_pairs)
        shuffle(stream, keys, num_pairs)
        pairs = _write_pairs(tokens[row], author[row], stream, keys[:num_pairs], FIRST_KEY + num_keys, num_values)
        shuffle(stream, places[:num_pairs], num_queries)
        at = ask(tokens[row], author[row], pairs, ASK)
        for query in range(num_queries):
            pair = 1 + 2 * places[query]
            answers[row, query] = tokens[row, pair + 1]
            at = ask(tokens[row], author[row], at, tokens[row, pair])
            if regime == 1:
                at = _write_keys(tokens[row], author[row], at, pair)
            elif regime == 2:
                at = search_word_after(tokens[row], author[row], at, tokens[row, :pairs], tokens[row, pair : pair + 1])
            at = say(tokens[row], author[row], at, answers[row, query])
        lengths[row] = at


@njit(cache=True)
def _write_pairs(
    tokens: Ids, author: Authors, stream: Stream, keys: npt.NDArray[np.int64], first_value: int, num_values: int
) -> int:
    at = ask(tokens, author, 0, START)
    for key in keys:
        at = ask(tokens, author, at, FIRST_KEY + key)
        at = ask(tokens, author, at, first_value + draw_below(stream, num_values))
    return at


@njit(cache=True)
def _write_keys(tokens: Ids, author: Authors, at: int, last: int) -> int:
    """Write the keys of the prompt from the first to the one at place `last`."""
    for place in range(1, last + 1, 2):
        at = say(tokens, author, at, tokens[place])
    return at
