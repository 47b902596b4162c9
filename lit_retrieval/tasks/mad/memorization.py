"""MAD's memorization."""

import numpy as np
from numba import njit

from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_between, check_numbers
from lit_retrieval.tasks.random import Counts, draw_below, open_stream, shuffle
from lit_retrieval.tasks.recall.pairs import FIRST_KEY, pair_words
from lit_retrieval.tasks.task import Regime, Task, Transcripts
from lit_retrieval.tasks.writing import Rows, ask, ask_beside, blank_rows
from lit_retrieval.vocabulary import ASK, MOST_WORDS, START, Vocabulary


class MADMemorization(Task):
    """Random keys, each with a `?` at which to say its value, the same in all samples. (MAD, arXiv:2403.17844.)

    Values are not in the context: the model must store the map from keys to values, which training and tests share, in
    its weights. So there is nothing to search for or to compute, and the only regime is `vanilla`. A sample of size 6
    in which k3 has v5 and k1 has v2::

        prompt:  <s> k3 ?
        vanilla: {v5} k1 ? {v2} k3 ? {v5} ?

    The size of a problem is its number of tokens without `<s>` and the last `?` (MAD's seq_len). Keys are drawn with
    replacement, and no two have the same value.

    Args:
        vocab_size: Number of keys, values and MAD's token for an answer (`?`) together.
        map_seed: Random seed of the map from keys to values.
    """

    regimes = ("vanilla",)

    def __init__(self, vocab_size: int = 256, map_seed: int = 0) -> None:
        check_numbers("data.task.init_args", MOST_WORDS, vocab_size=(vocab_size, 3))
        check_between("map_seed", map_seed, 0, 2**64 - 1, "data.task.init_args.map_seed")
        self.vocab_size = vocab_size
        self.map_seed = map_seed
        num_keys, num_values = (vocab_size - 1) // 2, vocab_size // 2
        self.vocabulary = Vocabulary(pair_words(num_keys, num_values, ()))
        self.answer_words = np.arange(FIRST_KEY + num_keys, FIRST_KEY + num_keys + num_values, dtype=np.int32)
        self.chance = 1 / num_values
        self._values = np.arange(num_values)
        shuffle(open_stream(np.uint64(map_seed), 0), self._values, num_keys)
        self._values = FIRST_KEY + num_keys + self._values[:num_keys]

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        longest = int(sizes.max())
        rows = blank_rows(len(indices), 2 + longest, longest // 2)
        _write_batch(np.uint64(seed), indices, sizes, self._values, rows)
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """All tokens after the first `?`, and the one beside the last answer."""
        return size - 1

    def shortest_reply(self, regime: Regime) -> int:
        """The longest reply of size 2."""
        return 1

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless the size is an even number of tokens, 2 or more."""
        if size < 2 or size % 2:
            raise UserError(f"size must be an even number, 2 or more, got {size}; set data.sizes")


@njit(cache=True)
def _write_batch(seed: np.uint64, indices: Counts, sizes: Counts, values: Counts, rows: Rows) -> None:
    for row in range(len(indices)):
        tokens, author, count = rows.tokens[row], rows.author[row], sizes[row] // 2
        stream, at = open_stream(seed, indices[row]), ask(tokens, author, 0, START)
        for place in range(count):
            key = draw_below(stream, len(values))
            rows.answers[row, place] = values[key]
            if place == 0:
                at = ask(tokens, author, at, FIRST_KEY + key)
            else:
                at = ask_beside(tokens, author, at, FIRST_KEY + key)
            at = ask(tokens, author, at, ASK)
        rows.prompt_length[row] = 3
        rows.length[row] = ask_beside(tokens, author, at, ASK)
