"""Runs of a Turing machine, step by step."""

from typing import NamedTuple

import numpy as np

from lit_retrieval.errors import UserError
from lit_retrieval.machines import SEARCH, VERDICTS, Step, Table, TuringMachine
from lit_retrieval.ranges import check_between, check_numbers
from lit_retrieval.tasks.task import Regime
from lit_retrieval.tasks.word_task import Turn, WordTask


class Run(NamedTuple):
    """A tape, and the machine's steps on it."""

    tape: list[int]
    steps: list[Step]


class MachineRun(WordTask):
    r"""A tape, and a Turing machine's steps on it up to its verdict. (arXiv:2402.18510, Theorems 5.4 and 5.8.)

    The prompt names each cell and its symbol. A step names the cell, writes the symbol read (`cot`) or searches for it
    (`retrieval`), then writes the new symbol, the move, and the next state or the verdict. A sample of the machine
    `{A: {0: 1RB, 1: 1LB}, B: {0: 1LA, 1: 1RHALT}}` on a tape with a single 1::

        prompt:    <s> c0 t1 ?
        vanilla:   HALT
        cot:       c0 r1 t1 L q1 c-1 r0 t1 L q0 c-2 r0 t1 R q1 c-1 r1 t1 R HALT
        retrieval: c0 <StartSearch> .*(?<!\S) c0 \s+(?:<EndSearch>\s+)?(t\S+) <EndSearch> [t1] t1 L q1
                   c-1 <StartSearch> .*(?<!\S) c-1 \s+(?:<EndSearch>\s+)?(t\S+) <EndSearch> [FAILED] t1 L q0
                   c-2 <StartSearch> .*(?<!\S) c-2 \s+(?:<EndSearch>\s+)?(t\S+) <EndSearch> [FAILED] t1 R q1
                   c-1 <StartSearch> .*(?<!\S) c-1 \s+(?:<EndSearch>\s+)?(t\S+) <EndSearch> [t1] t1 R HALT

    The size of a problem is the length of its tape, of random symbols other than blank; 0 is an empty tape.

    Args:
        table: The machine, or the path of its YAML file; see `lit_retrieval.machines.TuringMachine`.
        max_steps: Most steps of a run; a longer run is an error.
    """

    def __init__(self, table: Table, max_steps: int = 1000) -> None:
        check_numbers("data.task.init_args", max_steps=(max_steps, 1))
        self.table = table
        self.machine = TuringMachine(table)
        self.max_steps = max_steps
        cells = [f"c{cell}" for cell in range(-max_steps, max_steps + 1)]
        symbols = [f"{kind}{symbol}" for kind in "tr" for symbol in range(self.machine.num_symbols)]
        states = [f"q{state}" for state in range(self.machine.num_states)]
        super().__init__([*cells, *symbols, *states, "L", "R", *VERDICTS, *SEARCH], answers=VERDICTS)

    def draw(self, rng: np.random.Generator, size: int) -> Run:
        """A random tape without blanks, and the run on it."""
        return _draw_run(rng, self.machine, size, self.max_steps)

    def write_turns(self, problem: Run, regime: Regime) -> list[Turn]:
        """The tape, and the run."""
        told = " ".join(f"c{cell} t{symbol}" for cell, symbol in enumerate(problem.tape))
        steps = problem.steps[-1:] if regime == "vanilla" else problem.steps
        return [Turn(f"<s> {told} ?", " ".join(_write(step, regime) for step in steps))]

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless `size` is from 0 to `max_steps`, or 0 if the machine's only symbol is the blank."""
        check_between("size", size, 0, _longest_tape(self.machine, self.max_steps), "data.sizes")


def _write(step: Step, regime: Regime) -> str:
    if regime == "vanilla":
        return step.action.verdict
    look = f"r{step.read}" if regime == "cot" else f"<StartSearch> {SEARCH[0]} c{step.cell} {SEARCH[1]} <EndSearch>"
    move = "R" if step.action.move > 0 else "L"
    return f"c{step.cell} {look} t{step.action.symbol} {move} {step.action.verdict or f'q{step.action.state}'}"


class SmallSpaceRun(WordTask):
    """A tape of few cells, and a Turing machine's steps on it, each written as the whole tape.

    The positive half of arXiv:2402.18510, Theorem 4.1. The state is written before the cell that the head is on. A
    sample of the machine `{A: {0: 1RB, 1: 1LB}, B: {0: 1LA, 1: 1RHALT}}` with a space of 4 cells and the head on the
    third::

        prompt:    <s> t0 t0 q0 t1 t0
        vanilla:   HALT
        cot:       t0 q1 t0 t1 t0 q0 t0 t1 t1 t0 q1 HALT

    The size of a problem is the number of symbols other than blank on the tape; the first is under the head.

    Args:
        table: The machine, or the path of its YAML file; see `lit_retrieval.machines.TuringMachine`.
        space: Cells of the tape; a run must not leave them.
        head: Start cell of the head, counted from 0.
        max_steps: Most steps of a run; a longer run is an error.
    """

    regimes = ("vanilla", "cot")

    def __init__(self, table: Table, space: int, head: int = 1, max_steps: int = 1000) -> None:
        check_numbers("data.task.init_args", space=(space, 1), max_steps=(max_steps, 1))
        check_between("head", head, 0, space - 1, "data.task.init_args.head")
        self.table = table
        self.machine = TuringMachine(table)
        self.space = space
        self.head = head
        self.max_steps = max_steps
        symbols = [f"t{symbol}" for symbol in range(self.machine.num_symbols)]
        states = [f"q{state}" for state in range(self.machine.num_states)]
        super().__init__([*symbols, *states, *VERDICTS], answers=VERDICTS)

    def draw(self, rng: np.random.Generator, size: int) -> Run:
        """A random tape without blanks, and the run on it."""
        run = _draw_run(rng, self.machine, size, self.max_steps)
        reached = [step.cell + self.head for step in run.steps]
        reached.append(reached[-1] + run.steps[-1].action.move)  # where it halts
        if not 0 <= min(reached) <= max(reached) < self.space:
            raise UserError(
                f"the machine leaves the space={self.space} on the tape {run.tape} from cell {self.head}; raise space "
                "or move head"
            )
        return run

    def write_turns(self, problem: Run, regime: Regime) -> list[Turn]:
        """The tape, and the tape after each step up to the verdict."""
        cells = [0] * self.space
        cells[self.head : self.head + len(problem.tape)] = problem.tape
        prompt, tapes = _tape(cells, self.head, "q0"), []
        for step in problem.steps:
            cells[self.head + step.cell] = step.action.symbol
            state = step.action.verdict or f"q{step.action.state}"
            tapes.append(_tape(cells, self.head + step.cell + step.action.move, state))
        tapes[-1] = tapes[-1][: tapes[-1].index(problem.steps[-1].action.verdict) + 1]
        reply = tapes[-1][-1:] if regime == "vanilla" else [word for tape in tapes for word in tape]
        return [Turn(f"<s> {' '.join(prompt)}", " ".join(reply))]

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless the tape has room for `size` symbols, or if the machine has none but the blank."""
        check_between("size", size, 0, _longest_tape(self.machine, self.space - self.head), "data.sizes")


def _tape(cells: list[int], head: int, state: str) -> list[str]:
    words = [f"t{symbol}" for symbol in cells]
    return [*words[:head], state, *words[head:]]


def _longest_tape(machine: TuringMachine, most: int) -> int:
    return most if machine.num_symbols > 1 else 0


def _draw_run(rng: np.random.Generator, machine: TuringMachine, size: int, max_steps: int) -> Run:
    tape = rng.integers(1, machine.num_symbols, size).tolist() if size else []
    steps = list(machine.run(tape, max_steps))
    if not steps[-1].action.verdict:
        raise UserError(f"the machine runs for more than max_steps={max_steps} on the tape {tape}; raise max_steps")
    return Run(tape, steps)
