"""Finite automata, by name or from a table; every state is followed by one for each symbol."""

import re
from collections.abc import Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lit_retrieval.errors import UserError

Transitions = npt.NDArray[np.int64]
Table = dict[str, dict[str, str]]
Outputs = dict[str, str | int | bool]  # YAML reads `yes` as True

_SIZES = {"z": (2, 1000), "cycle": (2, 1000), "s": (3, 6), "a": (3, 6)}  # of a family by the letters of its name
NAMES = "parity, even_pairs, cycleN or zN (2 to 1000), sN or aN (3 to 6)"


class Automaton(NamedTuple):
    """A Moore machine: a state after each state and symbol, and what is seen of each state.

    Args:
        transitions: The states after each state and symbol, `(states, symbols)`; state 0 is the first.
        outputs: The output of each state, 0 up to but not including their number, `(states,)`.
    """

    transitions: Transitions
    outputs: npt.NDArray[np.int64]

    @property
    def num_outputs(self) -> int:
        """The number of different outputs."""
        return int(self.outputs.max()) + 1


def make_automaton(automaton: str | Table, outputs: Outputs | None = None) -> Automaton:
    """The automaton of a name or a table; its outputs are its states, but for `even_pairs` and where they are given.

    Raises `UserError` for a name that is not one of NAMES, for a table that lacks a state or a symbol, and for outputs
    that are not those of a table's states.

    Args:
        automaton: `parity`; a group by its name, whose states and symbols are its elements: `z5` (addition modulo 5),
            `s3` (permutations of 3) or `a5` (the even ones of 5), with the unit first; `cycle5`, a walk on a circle of
            5 places, whose symbols stay, go on and go back; `even_pairs`, a word of bits, whose output is 0 where the
            number of unequal neighbors is even; or a table of the next states by state and symbol:
            `{even: {0: even, 1: odd}, odd: {0: odd, 1: even}}`.
        outputs: The output of each state of a table, numbered as they come: `{even: accept, odd: reject}`.
    """
    if not isinstance(automaton, str):
        return _from_table(automaton, outputs)
    if outputs is not None:
        raise UserError(
            f"outputs are those of a table's states, got the automaton {automaton!r}; remove "
            "data.task.init_args.outputs, or write a table"
        )
    if automaton == "even_pairs":
        return _even_pairs()
    transitions = _by_number(*_family(automaton))
    return Automaton(transitions, np.arange(len(transitions)))


def _family(name: str) -> tuple[str, int]:
    """The letters and the number of a name."""
    parts = re.fullmatch("([a-z]+)([0-9]{1,9})", "z2" if name == "parity" else name)
    family, number = (parts[1], int(parts[2])) if parts else ("", 0)
    smallest, largest = _SIZES.get(family, (1, 0))
    if not smallest <= number <= largest:
        raise UserError(f"automaton must be {NAMES} or a table, got {name!r}; set data.task.init_args.automaton")
    return family, number


def _by_number(family: str, number: int) -> Transitions:
    states = np.arange(number)
    if family == "z":
        return np.add.outer(states, states) % number
    if family == "cycle":
        return np.add.outer(states, [0, 1, -1]) % number
    elements = [one for one in permutations(range(number)) if family == "s" or _is_even(one)]
    index = {one: place for place, one in enumerate(elements)}
    return np.array([[index[tuple(first[at] for at in second)] for second in elements] for first in elements])


def _is_even(permutation: Sequence[int]) -> bool:
    pairs = ((one, other) for place, one in enumerate(permutation) for other in permutation[place + 1 :])
    return sum(one > other for one, other in pairs) % 2 == 0


def _even_pairs() -> Automaton:
    """The first and the last bit, after a state without any: their number of changes is even if they are the same."""
    ends = [(first, last) for first in (0, 1) for last in (0, 1)]
    later = [[1 + ends.index((first, bit)) for bit in (0, 1)] for first, _ in ends]
    first_bit = [1 + ends.index((bit, bit)) for bit in (0, 1)]
    return Automaton(np.array([first_bit, *later]), np.array([0, *(first != last for first, last in ends)], np.int64))


def _from_table(table: Table, outputs: Outputs | None) -> Automaton:
    rows = {str(state): {str(symbol): str(after) for symbol, after in row.items()} for state, row in table.items()}
    symbols, states = list(next(iter(rows.values()), {})), list(rows)
    wrong = [state for state, row in rows.items() if set(row) != set(symbols) or not set(row.values()) <= set(states)]
    if not symbols or wrong:
        raise UserError(
            f"each state of the automaton must have a next state of the table for each of the symbols "
            f"{', '.join(symbols) or '(none)'}, got {rows.get(wrong[0] if wrong else '')}; complete "
            "data.task.init_args.automaton"
        )
    seen = {state: state for state in states} if outputs is None else {str(one): str(of) for one, of in outputs.items()}
    if set(seen) != set(states):
        raise UserError(
            f"outputs must have one for each of the states {', '.join(states)}, got those of "
            f"{', '.join(seen) or '(none)'}; complete data.task.init_args.outputs"
        )
    names = list(dict.fromkeys(seen.values()))
    return Automaton(
        np.array([[states.index(row[symbol]) for symbol in symbols] for row in rows.values()]),
        np.array([names.index(seen[state]) for state in states]),
    )
