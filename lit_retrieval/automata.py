"""Finite automata, by name or from a table; every state is followed by one for each symbol."""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import numpy.typing as npt

from lit_retrieval.errors import UserError

Transitions = npt.NDArray[np.int64]
Table = dict[str, dict[str, str]]

_LARGEST = {"z": 1000, "s": 6, "a": 6}  # of a group by its first letter
NAMES = "parity, zN (2 to 1000), sN or aN (3 to 6)"


def transitions(automaton: str | Table) -> Transitions:
    """The states after each state and symbol, `(states, symbols)`; state 0 is the first.

    Raises `UserError` for a name that is not one of NAMES, and for a table that lacks a state or a symbol.

    Args:
        automaton: `parity`; a group by its name, whose states and symbols are its elements: `z5` (addition modulo 5),
            `s3` (permutations of 3) or `a5` (the even ones of 5), with the unit first; or a table of the next states by
            state and symbol: `{even: {0: even, 1: odd}, odd: {0: odd, 1: even}}`.
    """
    if not isinstance(automaton, str):
        return _from_table(automaton)
    letter, number = automaton[:1], automaton[1:]
    if automaton == "parity":
        letter, number = "z", "2"
    smallest = 2 if letter == "z" else 3
    if not number.isdecimal() or not smallest <= int(number) <= _LARGEST.get(letter, 0):
        raise UserError(f"automaton must be {NAMES} or a table, got {automaton!r}; set data.task.init_args.automaton")
    if letter == "z":
        return np.add.outer(np.arange(int(number)), np.arange(int(number))) % int(number)
    elements = [one for one in permutations(range(int(number))) if letter == "s" or _is_even(one)]
    index = {one: place for place, one in enumerate(elements)}
    return np.array([[index[tuple(first[at] for at in second)] for second in elements] for first in elements])


def _is_even(permutation: Sequence[int]) -> bool:
    pairs = ((one, other) for place, one in enumerate(permutation) for other in permutation[place + 1 :])
    return sum(one > other for one, other in pairs) % 2 == 0


def _from_table(table: Table) -> Transitions:
    rows = {str(state): {str(symbol): str(after) for symbol, after in row.items()} for state, row in table.items()}
    symbols, states = list(next(iter(rows.values()), {})), list(rows)
    wrong = [state for state, row in rows.items() if set(row) != set(symbols) or not set(row.values()) <= set(states)]
    if not symbols or wrong:
        raise UserError(
            f"each state of the automaton must have a next state of the table for each of the symbols "
            f"{', '.join(symbols) or '(none)'}, got {rows.get(wrong[0] if wrong else '')}; complete "
            "data.task.init_args.automaton"
        )
    return np.array([[states.index(row[symbol]) for symbol in symbols] for row in rows.values()])
