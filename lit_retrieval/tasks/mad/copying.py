"""MAD's selective copying."""

import numpy as np
from numba import njit

from lit_retrieval.ranges import check_at_least, check_numbers
from lit_retrieval.tasks.random import Counts, draw_below, open_stream
from lit_retrieval.tasks.task import Regime, Task, Transcripts
from lit_retrieval.tasks.writing import Rows, ask, ask_beside, blank_rows
from lit_retrieval.vocabulary import ASK, FIRST_WORD, MOST_WORDS, START, Vocabulary

BLANK = "_"


class MADCopying(Task):
    """Random words among blanks: repeat the words in their order. (MAD's selective copying, arXiv:2403.17844.)

    After the `?`, the model is asked for the next word beside each blank. There is nothing to search for or to compute
    before an answer, so the only regime is `vanilla`. A sample of size 12 with 3 words::

        prompt:  <s> _ w3 _ _ w1 _ _ w2 ? _
        vanilla: {w3} _ {w1} _ {w2} _

    The size of a problem is its number of tokens without `<s>` and the last blank (MAD's seq_len). As in MAD's code,
    each blank is put before a randomly drawn word, so the words are spread evenly, and the last word is directly before
    the `?`.

    Args:
        vocab_size: Number of words, including MAD's blank and its sign to copy (`?`).
        num_tokens_to_copy: Number of words in a sample. (Before December 2024, MAD's code always copied 16.)
    """

    regimes = ("vanilla",)

    def __init__(self, vocab_size: int = 16, num_tokens_to_copy: int = 16) -> None:
        numbers = {"vocab_size": (vocab_size, 3), "num_tokens_to_copy": (num_tokens_to_copy, 1)}
        check_numbers("data.task.init_args", MOST_WORDS, **numbers)
        self.vocab_size = vocab_size
        self.num_tokens_to_copy = num_tokens_to_copy
        num_words = vocab_size - 2
        self.vocabulary = Vocabulary([*(f"w{word}" for word in range(1, num_words + 1)), BLANK])
        self.answer_words = np.arange(FIRST_WORD, FIRST_WORD + num_words, dtype=np.int32)
        self.chance = 1 / num_words

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        rows = blank_rows(len(indices), 2 + int(sizes.max()), self.num_tokens_to_copy)
        _write_batch(np.uint64(seed), indices, sizes, self.vocab_size - 2, rows)
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """A blank beside each answer."""
        return self.num_tokens_to_copy

    def shortest_reply(self, regime: Regime) -> int:
        """The same for all samples."""
        return self.num_tokens_to_copy

    def longest_distance(self, size: int, regime: Regime) -> int:
        """From the first word to the blank after the `?`, and the same number of answers later."""
        return size

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless there is room for the words, their copies, the `?` and a blank, as in MAD."""
        check_at_least("size", size, 2 * self.num_tokens_to_copy + 2, "data.sizes")


@njit(cache=True)
def _write_batch(seed: np.uint64, indices: Counts, sizes: Counts, num_words: int, rows: Rows) -> None:
    num_copied, blank = rows.answers.shape[1], FIRST_WORD + num_words
    gaps = np.empty(num_copied, np.int64)
    for row in range(len(indices)):
        tokens, author, answers = rows.tokens[row], rows.author[row], rows.answers[row]
        stream = open_stream(seed, indices[row])
        gaps[:] = 0
        for _ in range(sizes[row] - 2 * num_copied - 1):
            gaps[draw_below(stream, num_copied)] += 1
        at = ask(tokens, author, 0, START)
        for place in range(num_copied):
            for _ in range(gaps[place]):
                at = ask(tokens, author, at, blank)
            answers[place] = FIRST_WORD + draw_below(stream, num_words)
            rows.distances[row, place] = -at
            at = ask(tokens, author, at, answers[place])
        at = ask(tokens, author, at, ASK)
        at = rows.prompt_length[row] = ask(tokens, author, at, blank)
        for place in range(num_copied):
            rows.distances[row, place] += at - 1
            at = ask_beside(tokens, author, at, blank)
        rows.length[row] = at
