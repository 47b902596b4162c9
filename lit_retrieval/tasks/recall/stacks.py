"""Stacks: the word on top of one of several stacks."""

import numpy as np
from numba import njit

from lit_retrieval.conversation import Authors
from lit_retrieval.ranges import check_numbers
from lit_retrieval.tasks.random import Counts, Stream, draw_below, draw_coin, open_stream
from lit_retrieval.tasks.task import REGIMES, Regime, Task, Transcripts, check_range
from lit_retrieval.tasks.writing import COT, Rows, ask, blank_rows, say
from lit_retrieval.vocabulary import FIRST_WORD, MOST_WORDS, START, Ids, Vocabulary

PUSH, POP = FIRST_WORD, FIRST_WORD + 1
FIRST_STACK = FIRST_WORD + 2
_NONE = -1


class Stacks(Task):
    """Words are pushed onto several stacks: say each word that is popped. (Kimi Linear, arXiv:2510.26692, section 5.1.)

    Each operation is on a random stack. It pushes a random word or, with probability 1/2 if the stack is not empty,
    pops one. The last operation pops a random stack that is not empty. (The paper gives the form of the operations and
    the 64 stacks, but no distribution.) A model may answer each pop at once (`vanilla`), or go back over the operations
    on that stack (`cot`). For each operation it writes how many pushes are still to be passed, one more for a pop and
    one less for a push, down to 0 at the push that was popped. A sample of size 5::

        prompt:  <s> push s1 w4 push s1 w2 pop s1
        vanilla: w2 push s2 w2 pop s1 w4
        cot:     0 w2 push s2 w2 pop s1 2 1 0 w4

    It has no `retrieval`: a regular expression can't tell which of the pushes of a stack have been popped since.

    The size of a problem is the number of its operations. Each is three tokens, including the answers, so the paper's
    256 to 2,048 tokens are 85 to 682 operations.

    Args:
        max_size: The largest size that the vocabulary has numerals for.
        num_stacks: Number of stacks.
        vocab_size: Words in the vocabulary for pushes.
    """

    regimes = ("vanilla", "cot")

    def __init__(self, max_size: int = 128, num_stacks: int = 64, vocab_size: int = 26) -> None:
        numbers = {"max_size": (max_size, 2), "num_stacks": (num_stacks, 1), "vocab_size": (vocab_size, 2)}
        check_numbers("data.task.init_args", MOST_WORDS, **numbers)
        self.max_size = max_size
        self.num_stacks = num_stacks
        self.vocab_size = vocab_size
        stacks, words = (
            (f"s{stack}" for stack in range(1, num_stacks + 1)),
            (f"w{1 + one}" for one in range(vocab_size)),
        )
        self.vocabulary = Vocabulary(["push", "pop", *stacks, *words, *map(str, range(max_size // 2 + 1))])
        first_word = FIRST_STACK + num_stacks
        self.answer_words = np.arange(first_word, first_word + vocab_size, dtype=np.int32)
        self.chance = 1 / vocab_size

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        longest = int(sizes.max())
        rows = blank_rows(len(indices), 6 + self.longest_reply(longest, regime), longest // 2)
        _write_batch(np.uint64(seed), indices, sizes, self.num_stacks, self.vocab_size, REGIMES.index(regime), rows)
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The tokens after the first pop if it is the second operation; in `cot` if half of them push, then all pop."""
        return 3 * size - 5 + ((size // 2) ** 2 if regime == "cot" else 0)

    def shortest_reply(self, regime: Regime) -> int:
        """The tokens after the first pop if it is the last operation; in `cot` if a push of its stack is before it."""
        return 2 if regime == "cot" else 1

    def longest_distance(self, size: int, regime: Regime) -> int:
        """From the first word that is pushed to the last pop."""
        return 1 + self.longest_reply(size, regime)

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless there is room for a push and a pop, and numerals for the chain of thought."""
        check_range(size, 2, self.max_size)


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, num_stacks: int, vocab_size: int, regime: int, rows: Rows
) -> None:
    stacks, history = np.empty((2, num_stacks), np.int64), np.empty((3, sizes.max()), np.int64)
    tops, latest = stacks[0], stacks[1]  # operations on each stack: its top's push, the latest one
    before, below, places = history[0], history[1], history[2]  # of each: two earlier ones, and its word's position
    first_word, numeral = FIRST_STACK + num_stacks, FIRST_STACK + num_stacks + vocab_size
    for row in range(len(indices)):
        tokens, author = rows.tokens[row], rows.author[row]
        stream, size, filled, query = open_stream(seed, indices[row]), sizes[row], 0, 0
        tops[:] = latest[:] = _NONE
        at = ask(tokens, author, 0, START)
        for step in range(size):
            stack = _draw_filled(stream, tops) if step == size - 1 else draw_below(stream, num_stacks)
            pops = step == size - 1 or _is_popped(stream, tops[stack], filled, size - 1 - step)
            at = ask(tokens, author, at, POP if pops else PUSH)
            at = ask(tokens, author, at, FIRST_STACK + stack)
            before[step], latest[stack] = latest[stack], step
            if pops:
                top = tops[stack]
                if query == 0:
                    rows.prompt_length[row] = at
                rows.answers[row, query], rows.distances[row, query] = tokens[places[top]], at - 1 - places[top]
                if regime == COT:
                    at = _write_search(tokens, author, at, before, places, step, numeral)
                at = say(tokens, author, at, tokens[places[top]])
                places[step], tops[stack] = _NONE, below[top]
                filled, query = filled - 1, query + 1
            else:
                places[step], below[step], tops[stack] = at, tops[stack], step
                at = ask(tokens, author, at, first_word + draw_below(stream, vocab_size))
                filled += 1
        rows.length[row] = at


@njit(cache=True)
def _draw_filled(stream: Stream, tops: Counts) -> int:
    """One of the stacks that are not empty."""
    filled = np.flatnonzero(tops != _NONE)
    return int(filled[draw_below(stream, len(filled))])


@njit(cache=True)
def _is_popped(stream: Stream, top: int, filled: int, later: int) -> bool:
    """Whether to pop a stack; directly before the last pop, the only word in all stacks is not popped."""
    return top != _NONE and (filled > 1 or later > 1) and draw_coin(stream) == 1


@njit(cache=True)
def _write_search(
    tokens: Ids, author: Authors, at: int, before: Counts, places: Counts, step: int, numeral: int
) -> int:
    """Write how many pushes are still to be passed, at each earlier operation on a stack; returns the next position."""
    passed, missing = before[step], 1
    while missing > 0:
        missing += 1 if places[passed] == _NONE else -1
        at = say(tokens, author, at, numeral + missing)
        passed = before[passed]
    return at
