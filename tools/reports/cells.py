"""The cells of the paper's Figures 2 and 5: our accuracy and the paper's for the same model, size and regime."""

from collections.abc import Sequence
from statistics import mean
from typing import NamedTuple

from reports.rows import REGIMES, PaperValue, Row, best_of_seeds

FIGURES = {"2": ("transformer", "mamba"), "5": ("hybrid",)}
_IN_PAPER = {"mamba": "rnn"}
_SMALLEST = "0.5M"


class Cell(NamedTuple):
    """One bar.

    Args:
        figure: 2 or 5.
        architecture: transformer, mamba or hybrid.
        model_size: Name of the model's size, such as 0.5M.
        n: Number of vertices.
        regime: vanilla, cot or retrieval.
        rows: Our trials, one for each seed; of several, the best by validation.
        paper: The paper's accuracy; None if the paper has none.
        paper_size: The paper's model size; its smallest if it has no model of our size.
    """

    figure: str
    architecture: str
    model_size: str
    n: int
    regime: str
    rows: list[Row]
    paper: float | None
    paper_size: str

    def ours(self, score: str) -> list[float]:
        """The score of each of our trials on graphs of n vertices."""
        return [row.by_size[self.n][score] for row in self.rows]

    @property
    def mean(self) -> float:
        """Our mean closed-loop accuracy as the paper counts it: an undecided answer scores like a guess."""
        return mean(self.ours("paper_score"))


def find_cells(rows: Sequence[Row], paper: Sequence[PaperValue]) -> list[Cell]:
    """All cells that have a trial on IsTree, trained and scored on graphs of the same size."""
    found = [
        row
        for row in rows
        if row.task == "IsTree"
        and row.distribution in ("", "binary")
        and row.sizes.isdecimal()
        and int(row.sizes) in row.by_size
    ]
    cells = []
    for figure, architectures in FIGURES.items():
        kinds = {(row.architecture, row.model_size, int(row.sizes)) for row in found}
        for architecture, model_size, n in sorted(kinds, key=lambda kind: (kind[0], _order(kind[1]), kind[2])):
            for regime in REGIMES if architecture in architectures else ():
                key = (architecture, model_size, str(n), regime)
                same = [row for row in found if (row.architecture, row.model_size, row.sizes, row.regime) == key]
                if same:
                    value, size = _paper_value(paper, architecture, model_size, n, regime)
                    cells.append(Cell(figure, architecture, model_size, n, regime, best_of_seeds(same), value, size))
    return cells


def _paper_value(
    paper: Sequence[PaperValue], architecture: str, model_size: str, n: int, regime: str
) -> tuple[float | None, str]:
    name = _IN_PAPER.get(architecture, architecture)
    size = model_size if any(value.model_size == model_size for value in paper) else _SMALLEST
    key = (name, size, n, regime)
    values = [one.accuracy for one in paper if (one.architecture, one.model_size, one.n, one.regime) == key]
    return (values[0] if values else None), size


def _order(model_size: str) -> tuple[float, str]:
    digits = model_size.removesuffix("M")
    return (float(digits), "") if digits.replace(".", "", 1).isdigit() else (0.0, model_size)
