"""Turing machines, run step by step from a table; the theorems' models simulate them."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse.typing import Path_fr, register_type

from lit_retrieval import parsing
from lit_retrieval.errors import UserError

BLANK = 0
# The last symbol written to a cell: what follows the cell's last name in the prompt or, after a search, in the trace.
SEARCH = (r".*(?<!\S)", r"\s+(?:<EndSearch>\s+)?(t\S+)")
VERDICTS = ("HALT", "YES", "NO")


class Action(NamedTuple):
    """The action of a machine in a state on a symbol.

    Args:
        symbol: The symbol that it writes.
        move: 1 to the right, -1 to the left.
        state: The next state, counted from 0; -1 where the run ends.
        verdict: HALT, YES or NO where the run ends, else empty.
    """

    symbol: int
    move: int
    state: int
    verdict: str


class Step(NamedTuple):
    """A step of a run: in `state` the machine read `read` in cell `cell`, and took `action`."""

    cell: int
    state: int
    read: int
    action: Action


class Table(dict[str, dict[int, str]]):
    """The actions of a machine, by state and symbol; see `TuringMachine`.

    In a configuration it may be the path of a YAML file, relative to the configuration's folder.
    """

    __slots__ = ()  # jsonargparse would copy a `__dict__`, and not the items


class TuringMachine:
    """A machine with one two-way infinite tape; it starts in its first state, in cell 0.

    Args:
        table: The actions by state and symbol, in the usual notation: `{A: {0: 1RB, 1: 1LHALT}, B: ...}` writes a 1
            on a blank, moves right and enters state B. Symbols are numbers, 0 is the blank. HALT, YES and NO end the
            run.
    """

    def __init__(self, table: dict[str, dict[int, str]]) -> None:
        names = list(table)
        self.num_states = len(names)
        self.actions = {
            (names.index(state), symbol): _parse(state, symbol, written, names)
            for state, row in table.items()
            for symbol, written in row.items()
        }
        self.num_symbols = 1 + max((symbol for _, symbol in self.actions), default=-1)
        pairs = product(range(self.num_states), range(self.num_symbols))
        if missing := [(names[state], symbol) for state, symbol in pairs if (state, symbol) not in self.actions]:
            raise UserError(f"the machine has no action for {missing[0]} (state, symbol); write one, as in 1RHALT")
        if not self.actions or max(action.symbol for action in self.actions.values()) >= self.num_symbols:
            raise UserError("the machine has no states, or no action for a symbol that it writes; complete the table")

    def run(self, tape: Sequence[int], max_steps: int = 10_000) -> Iterator[Step]:
        """The steps on a tape that begins in cell 0, at most `max_steps`."""
        cells = defaultdict(int, enumerate(tape))
        cell = state = 0
        for _ in range(max_steps):
            action = self.actions[state, cells[cell]]
            yield Step(cell, state, cells[cell], action)
            cells[cell] = action.symbol
            cell, state = cell + action.move, action.state
            if action.verdict:
                return


def _parse(state: str, symbol: int, written: str, names: list[str]) -> Action:
    parts = re.fullmatch(r"(\d+)([LR])(\w+)", str(written))
    if not parts or (parts[3] not in names and parts[3] not in VERDICTS):
        raise UserError(
            f"the action of state {state} on {symbol} must be a symbol, L or R, and a state of the table or one of "
            f"{', '.join(VERDICTS)}, got {written!r}; write one such as 1RB"
        )
    verdict = parts[3] if parts[3] in VERDICTS else ""
    return Action(int(parts[1]), 1 if parts[2] == "R" else -1, -1 if verdict else names.index(parts[3]), verdict)


def read_table(given: Any) -> Table:
    """The table of a machine, given as such or as the path of its YAML file; raises `UserError` if it is neither."""
    table = read_yaml(given, "a machine's table") if isinstance(given, str) else given
    for state, row in table.items() if isinstance(table, dict) else [(None, table)]:
        if not isinstance(row, dict) or not all(str(symbol).isdecimal() for symbol in row):
            shown, where = row if state is None else {state: row}, f" in {given}" if isinstance(given, str) else ""
            raise UserError(f"a machine's table must be like {{A: {{0: 1RB, 1: 1LHALT}}}}, got {shown!r}{where}")
    return Table({str(state): {int(symbol): str(row[symbol]) for symbol in row} for state, row in table.items()})


def read_yaml(path: str, what: str) -> Any:
    """The content of a YAML file, relative to the configuration's folder; raises `UserError` with `what` it is for."""
    try:
        return parsing.read_yaml(Path(Path_fr(path)))
    except (OSError, TypeError):
        raise UserError(f"there is no file {path}; write {what}, or the path of its YAML file") from None


register_type(Table, serializer=dict, deserializer=read_table)
