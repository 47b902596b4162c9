"""Show a model with constructed weights that runs a Turing machine: `python tools/turing.py --help`."""

from pathlib import Path
from typing import Literal

from jsonargparse import auto_cli
from rich.console import Console
from rich.text import Text

from lit_retrieval.constructions import Theorem54, Theorem58
from lit_retrieval.decoding import begin, generate
from lit_retrieval.errors import UserError
from lit_retrieval.machines import VERDICTS, read_table
from lit_retrieval.parsing import OneLineErrors, one_line_errors
from lit_retrieval.ranges import check_at_least
from lit_retrieval.retrieval import EitherFormRetriever
from lit_retrieval.tasks import MachineRun

_THEOREMS = {"5.4": Theorem54, "5.8": Theorem58}
_TOKENS_OF_A_STEP = 10


def turing(
    machine: Path,
    tape: list[int] = [],  # noqa: B006 (jsonargparse shows it in --help; nothing changes it)
    theorem: Literal["5.4", "5.8"] = "5.4",
    max_steps: int = 1000,
) -> None:
    """Decode a machine's run by its model, and print the tape after each step, the head's cell in reverse video.

    Args:
        machine: File with a transition table, as in configs/machines.
        tape: Symbols from cell 0 on; 0 is the blank.
        theorem: 5.4 for a linear RNN that searches its own trace, 5.8 for one with a Transformer layer on top.
        max_steps: Maximum number of steps.
    """
    check_at_least("max_steps", max_steps, 1, "--max_steps")
    table = read_table(str(machine))
    task = MachineRun(table, max_steps)
    last = task.machine.num_symbols - 1
    if unknown := [symbol for symbol in tape if not 0 <= symbol <= last]:
        raise UserError(f"tape must have symbols of the machine, 0 to {last}, got {unknown[0]}; set --tape")
    told = " ".join(f"c{cell} t{symbol}" for cell, symbol in enumerate(tape))
    prompt = task.vocabulary.encode(f"<s> {told} ?".split())
    asked = begin([[prompt]], task, EitherFormRetriever(), max_steps * _TOKENS_OF_A_STEP)
    (reply,) = generate(_THEOREMS[theorem](table).write(task.vocabulary), asked)
    _print_run(dict(enumerate(tape)), task.vocabulary.decode(reply.tokens[len(prompt) :]))


def _print_run(cells: dict[int, int], trace: list[str]) -> None:
    """Print the tape described by the model's tokens, one line per step."""
    console, begun, number = Console(), 0, 0
    for at, word in enumerate(trace):
        if word not in ("L", "R") or at + 1 == len(trace):
            continue
        cell, state, number = int(trace[begun][1:]), trace[at + 1], number + 1
        cells[cell] = int(trace[at - 1][1:])
        head, begun = cell + (1 if word == "R" else -1), at + 2
        reach = [*cells, head]
        line = Text(f"{number:>5} {state:<5} ")
        for place in range(min(reach), max(reach) + 1):
            line.append(f" {cells.get(place, 0)}", "reverse" if place == head else "")
        console.print(line)
    console.print(trace[-1] if trace[-1] in VERDICTS else f"no verdict in {number} steps; raise --max_steps")


if __name__ == "__main__":
    with one_line_errors():
        auto_cli(turing, as_positional=True, parser_class=OneLineErrors)
