"""The rows of a comparison as a table: a line for each layer, a column for each suite and size."""

from collections.abc import Sequence
from statistics import mean

from rich.table import Table

from comparisons.rows import decode
from comparisons.significance import Counts, differences

Row = dict[str, str]


class Summary:
    """The rows of one protocol.

    Args:
        rows: Its rows.
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
        """The layers, those of the highest mean first, those without one last."""
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
    """The accuracy of a cell, or why there is none."""
    return "" if row is None else f"{float(row['accuracy']):.3f}" if row["accuracy"] else row["status"]


def table(rows: Sequence[Row], names: set[str]) -> Table:
    """The table of some layers for a terminal."""
    summary = Summary(rows)
    shown_table = Table("layer", "mean", *(f"{suite} {size}" for suite, size in summary.cells), "bits", "parameters",
                        "training", "decoding", box=None)  # fmt: skip
    for name in summary.ordered():
        if name not in names:
            continue
        own = summary.layers[name]
        average, first = summary.mean(name), next(iter(own.values()))
        bits = max((int(row["state_bits"]) for row in own.values() if row["state_bits"]), default=None)
        shown_table.add_row(
            name, "" if average is None else f"{average:.3f}", *(shown(own.get(cell)) for cell in summary.cells),
            "" if bits is None else f"{bits:,}", first["parameters"], first["training"], first["decoding"],
        )  # fmt: skip
    return shown_table
