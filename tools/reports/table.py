"""The cells of Figures 2 and 5 as one table in Markdown."""

from collections.abc import Sequence
from statistics import mean

from reports.cells import Cell

_HEAD = (
    "model", "vertices", "regime", "paper", "ours", "difference", "95% interval", "undecided", "closed loop",
    "teacher forced", "seeds", "samples", "still rising",
)  # fmt: skip


def markdown(cells: Sequence[Cell]) -> str:
    """The table, with a row for each cell.

    `ours` is the mean accuracy over seeds as the paper counts it, where an undecided answer scores like a guess. The
    interval of the closed-loop accuracy over test samples reaches from the lowest end of any seed to the highest.
    """
    lines = ["| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD)]
    return "\n".join([*lines, *(_line(cell) for cell in cells)]) + "\n"


def _line(cell: Cell) -> str:
    paper = "" if cell.paper is None else f"{cell.paper:.3f}"
    if paper and cell.paper_size != cell.model_size:
        paper += f" ({cell.paper_size})"
    low, high = min(cell.ours("closed_loop_accuracy_low")), max(cell.ours("closed_loop_accuracy_high"))
    values = (
        f"{cell.architecture} {cell.model_size}", str(cell.n), cell.regime, paper, f"{cell.mean:.3f}",
        "" if cell.paper is None else f"{cell.mean - cell.paper:+.3f}", f"{low:.3f} to {high:.3f}",
        *(f"{mean(cell.ours(score)):.3f}" for score in ("undecided", "closed_loop_accuracy", "exact_match")),
        " ".join(sorted(row.seed for row in cell.rows)),
        " ".join(f"{samples:,}" for samples in sorted({row.samples for row in cell.rows})),
        "yes" if any(row.is_rising for row in cell.rows) else "",
    )  # fmt: skip
    return "| " + " | ".join(values) + " |"
