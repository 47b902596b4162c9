"""MAD's compression."""

import numpy as np
from numba import njit

from lit_retrieval.ranges import check_at_least, check_numbers
from lit_retrieval.tasks.random import Counts, draw_below, open_stream
from lit_retrieval.tasks.task import Regime, Task, Transcripts
from lit_retrieval.tasks.writing import Rows, ask, ask_beside, blank_rows
from lit_retrieval.vocabulary import ASK, FIRST_WORD, MOST_WORDS, START, Vocabulary

BLANK = "_"


class MADCompression(Task):
    """A string of random words, then a token into which a model is to compress them. (MAD, arXiv:2403.17844.)

    After the `?`, the model is asked for the first word, and beside each blank for the next one. There is nothing to
    search for or to compute before an answer, so the only regime is `vanilla`. A sample of size 4::

        prompt:  <s> w3 w1 w2 ?
        vanilla: {w3} _ {w1} _ {w2} _

    The size of a problem is the number of its words and the `?` (MAD's seq_len). In MAD, an MLP decodes the word at
    each position from the vector of the model's last layer at the `?`, with the position added to it; `model.readout:
    bottleneck` does this here. Without it a model may look back at the words and at its state, which is string copying.
    MAD also scores the `?` itself, which is the same in all samples and is left out here.

    Args:
        vocab_size: Number of words, including MAD's token to compress into (`?`).
    """

    regimes = ("vanilla",)

    def __init__(self, vocab_size: int = 16) -> None:
        check_numbers("data.task.init_args", MOST_WORDS, vocab_size=(vocab_size, 3))
        self.vocab_size = vocab_size
        num_words = vocab_size - 1
        self.vocabulary = Vocabulary([*(f"w{word}" for word in range(1, num_words + 1)), BLANK])
        self.answer_words = np.arange(FIRST_WORD, FIRST_WORD + num_words, dtype=np.int32)
        self.chance = 1 / num_words

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        longest = int(sizes.max())
        rows = blank_rows(len(indices), 2 * longest, longest - 1)
        _write_batch(np.uint64(seed), indices, sizes, self.vocab_size - 1, rows)
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """A blank beside each answer."""
        return size - 1

    def shortest_reply(self, regime: Regime) -> int:
        """The longest reply of size 2."""
        return 1

    def longest_distance(self, size: int, regime: Regime) -> int:
        """From a word to the token at which it is asked for, the same for all."""
        return size - 1

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless there is a word and the `?`."""
        check_at_least("size", size, 2, "data.sizes")


@njit(cache=True)
def _write_batch(seed: np.uint64, indices: Counts, sizes: Counts, num_words: int, rows: Rows) -> None:
    for row in range(len(indices)):
        tokens, author, count = rows.tokens[row], rows.author[row], sizes[row] - 1
        stream, at = open_stream(seed, indices[row]), ask(tokens, author, 0, START)
        for place in range(count):
            rows.answers[row, place] = FIRST_WORD + draw_below(stream, num_words)
            rows.distances[row, place] = count
            at = ask(tokens, author, at, rows.answers[row, place])
        at = rows.prompt_length[row] = ask(tokens, author, at, ASK)
        for _ in range(count):
            at = ask_beside(tokens, author, at, FIRST_WORD + num_words)
        rows.length[row] = at
