"""Accuracies against a number: the number at the end of a point's or a test's name, or the problem size."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from reports.rows import Row


class Measured(NamedTuple):
    """An accuracy to draw.

    Args:
        number: The number that varies.
        seed: Random seed of the model.
        accuracy, low, high: Closed-loop accuracy with its interval over test samples.
    """

    number: float
    seed: str
    accuracy: float
    low: float
    high: float


class Panel(NamedTuple):
    """The content of a panel.

    Args:
        title, label: Texts above the panel and below its axis.
        lines: Accuracies by the name of each line.
        guess: Accuracy of a blind guess.
        names: Words that replace some of the numbers.
        expected: Shares to draw as a thin line, by number, and the name of the line.
    """

    title: str
    label: str
    lines: dict[str, list[Measured]]
    guess: float
    names: dict[float, str] = {}  # noqa: RUF012 (never changed)
    expected: tuple[str, dict[float, float]] | None = None


def of_point(row: Row) -> list[Measured]:
    """The accuracy at the number at the end of a point's name, such as 16 in `small_16`."""
    return [_measured(float(row.model_size), row.seed, row.scores)]


def of_test(row: Row) -> list[Measured]:
    """The accuracy at the number at the end of a test's name, such as 0.1 in `wrong 0.1`; at 0 without one."""
    return [_measured(float(row.test.rpartition(" ")[2] or 0), row.seed, row.scores)]


def of_curve(row: Row) -> list[Measured]:
    """The accuracy of each validation, at its thousands of training samples."""
    return [Measured(point.samples / 1000, row.seed, point.accuracy, point.low, point.high) for point in row.curve]


def of_sizes(row: Row) -> list[Measured]:
    """The accuracy at each problem size."""
    return [_measured(size, row.seed, scores) for size, scores in row.by_size.items()]


def best_heads(rows: Iterable[Row], all_heads: int) -> list[Measured]:
    """The best set of heads for each seed and number of heads; `heads 0 3` names two, a test without a name has all."""
    best: dict[tuple[str, float], Measured] = {}
    for row in rows:
        kept = float(len(row.test.replace("none", "").split()) - 1) if row.test else float(all_heads)
        one = _measured(kept, row.seed, row.scores)
        best[row.seed, kept] = max(one, best.get((row.seed, kept), one), key=lambda measured: measured.accuracy)
    return list(best.values())


def lines_of(
    rows: Iterable[Row], names: dict[str, str], measure: Callable[[Row], list[Measured]]
) -> dict[str, list[Measured]]:
    """A line for each entry of `names`, from the rows whose point or test has a name that begins with its key."""
    rows = list(rows)
    lines = {
        name: [
            one
            for row in rows
            if word in (row.point, row.architecture, row.test.partition(" ")[0])
            for one in measure(row)
        ]
        for word, name in names.items()
    }
    return {name: found for name, found in lines.items() if found}


def _measured(number: float, seed: str, scores: dict[str, float]) -> Measured:
    name = "closed_loop_accuracy"
    return Measured(number, seed, scores[name], scores[f"{name}_low"], scores[f"{name}_high"])
