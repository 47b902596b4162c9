"""The rows of a comparison as a table of layers by suite and size."""

from collections.abc import Sequence
from statistics import mean

from rich.console import Console
from rich.table import Table

from comparisons.rows import decode
from comparisons.significance import Counts, differences

Row = dict[str, str]
_SIDE_BY_SIDE, _WIDEST = 4, 1000  # layers; characters of a line


class Summary:
    """The rows of one protocol.

    Args:
        rows: The protocol's rows.
        samples: The rows of the samples.
    """

    def __init__(self, rows: Sequence[Row], samples: Sequence[Row] = ()) -> None:
        self.budget = str(max(int(row["state_budget"]) for row in rows))
        main = [row for row in rows if row["state_budget"] == self.budget]
        self.cells = list(dict.fromkeys((row["suite"], int(row["size"])) for row in main))
        self.layers: dict[str, dict[tuple[str, int], Row]] = {}
        for row in main:
            self.layers.setdefault(row["recurrence"], {})[row["suite"], int(row["size"])] = row
        self._samples = [row for row in samples if row["state_budget"] == self.budget]

    def mean(self, layer: str) -> float | None:
        """The mean accuracy over all cells; None if one is missing."""
        found = [self.layers[layer].get(cell, {}).get("accuracy") for cell in self.cells]
        return mean(map(float, filter(None, found))) if all(found) else None

    def ordered(self) -> list[str]:
        """The layers, ordered by mean accuracy, highest first; those without a mean come last."""
        return sorted(self.layers, key=lambda layer: (-(self.mean(layer) or -1), layer))

    def differences(self) -> dict[str, set[tuple[str, str]]]:
        """The pairs of layers that differ in each cell, by the cell's name; see `significance.differences`."""
        return differences(self.right_answers())

    def right_answers(self) -> dict[str, dict[str, list[Counts]]]:
        """The right answers of each seed, by the cell's name and the layer."""
        cells: dict[str, dict[str, list[Counts]]] = {}
        for row in self._samples:
            layers = cells.setdefault(f"{row['suite']} {row['size']}", {})
            layers.setdefault(row["recurrence"], []).append(decode(row["right"]))
        return cells


def shown(row: Row | None) -> str:
    """The accuracy of a cell, or the reason why there is none."""
    return "" if row is None else f"{float(row['accuracy']):.3f}" if row["accuracy"] else row["status"]


def show(rows: Sequence[Row], names: set[str]) -> None:
    """Print the table of some layers and the reasons in its rows; a few layers are shown as columns."""
    summary = Summary(rows)
    heads = ["layer", "mean", *(f"{suite} {size}" for suite, size in summary.cells), "bits of state", "parameters",
             "training speed", "decoding speed"]  # fmt: skip
    lines = [heads, *(_line(summary, name) for name in summary.ordered() if name in names)]
    first, *others = zip(*lines, strict=True) if len(lines) <= 1 + _SIDE_BY_SIDE else lines
    made = Table(*first, box=None)
    for line in others:
        made.add_row(*line)
    width = Console(width=_WIDEST).measure(made).maximum  # a terminal wraps longer lines
    Console(width=max(Console().width, width)).print(made)
    told = [row for row in rows if row["recurrence"] in names and row["reason"]]
    for reason in dict.fromkeys(f"{row['recurrence']} {row['status']}: {row['reason']}" for row in told):
        print(reason)


def _line(summary: Summary, name: str) -> list[str]:
    own, average = summary.layers[name], summary.mean(name)
    first = next(iter(own.values()))
    bits = max((int(row["state_bits"]) for row in own.values() if row["state_bits"]), default=None)
    return [
        name, "" if average is None else f"{average:.3f}", *(shown(own.get(cell)) for cell in summary.cells),
        "" if bits is None else f"{bits:,}", first["parameters"] and f"{int(first['parameters']):,}", first["training"],
        first["decoding"],
    ]  # fmt: skip
