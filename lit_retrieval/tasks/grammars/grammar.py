"""Random grammars whose states share their symbols, as tables. (Bouhadjar et al. 2026, arXiv:2601.12598.)"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from lit_retrieval.tasks.random import Counts, draw_below, draw_share, open_stream, shuffle

DENSITY = 0.4  # of the symbols that may follow a state, in all of the paper's tasks
NUM_FIRST = 4  # symbols that a string may begin with

Table = npt.NDArray[np.int64]


class Grammar(NamedTuple):
    """A deterministic automaton; its last state is the end of a string, and the start of the next.

    Args:
        after: The state after each state and symbol, -1 where the symbol may not follow, `(states, symbols)`; the last
            symbol ends a string.
        choices: The symbols that may follow each state, then padding, `(states, symbols)`; all are drawn alike.
        num_choices: How many these are, `(states,)`.
    """

    after: Table
    choices: Table
    num_choices: Counts

    def best_accuracy(self, num_symbols: int) -> float:
        """The share of symbols that a model which knows the state predicts of a text of `num_symbols`.

        The first symbol isn't predicted. Each of the symbols that may follow a state is as likely as the others, so
        that one guess is right in a share of one by their number.
        """
        states = np.zeros(len(self.after))
        states[-1] = 1
        step = np.zeros((len(self.after), len(self.after)))
        for state, count in enumerate(self.num_choices):
            step[state, self.after[state, self.choices[state, :count]]] = 1 / count
        right = 0.0
        for _ in range(num_symbols - 1):
            states = states @ step
            right += float(states @ (1 / self.num_choices))
        return right / (num_symbols - 1)


def draw_grammar(seed: int, num_symbols: int, depth: int) -> Grammar:
    """Draw a grammar; `depth` states for each of the symbols, and one for the end.

    A state may be followed by each symbol with a probability of DENSITY, and by the end with DENSITY / depth. The state
    after a state and a symbol is one of the symbol's. A string begins with one of NUM_FIRST symbols. A state from which
    no path leads to an end may end a string, the first of such states first; the paper draws again.
    """
    after = _draw_table(np.uint64(seed), num_symbols, depth)
    is_open = after >= 0
    choices = np.argsort(~is_open, axis=1, kind="stable")
    return Grammar(after, choices, is_open.sum(1))


@njit(cache=True)
def _draw_table(seed: np.uint64, num_symbols: int, depth: int) -> Table:
    stream, end = open_stream(seed, 0), num_symbols * depth
    after = np.full((end + 1, num_symbols + 1), -1, np.int64)
    for state in range(end):
        for symbol in range(num_symbols):
            if draw_share(stream) < DENSITY:
                after[state, symbol] = symbol * depth + draw_below(stream, depth)
        if draw_share(stream) < DENSITY / depth:
            after[state, num_symbols] = end
    first = np.arange(num_symbols)
    shuffle(stream, first, min(NUM_FIRST, num_symbols))
    for symbol in first[:NUM_FIRST]:
        after[end, symbol] = symbol * depth + draw_below(stream, depth)
    while True:
        lost = _first_without_end(after)
        if lost < 0:
            return after
        after[lost, num_symbols] = end


@njit(cache=True)
def _first_without_end(after: Table) -> int:
    """The first state from which no path leads to the last one, -1 if there is none."""
    has_end = np.zeros(len(after), np.bool_)
    has_end[-1] = is_new = True
    while is_new:
        is_new = False
        for state in range(len(after)):
            for target in after[state]:
                if not has_end[state] and target >= 0 and has_end[target]:
                    has_end[state] = is_new = True
    for state in range(len(after)):
        if not has_end[state]:
            return state
    return -1
