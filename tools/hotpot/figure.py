"""Figure 6 of the paper with our values beside the paper's, and our values as a table."""

from collections.abc import Mapping, Sequence
from statistics import mean

from figures.style import architecture_colors, draw_points
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from reports.rows import PaperValue
from sweeps.intervals import paired, wilson

from hotpot.answers import ORDERS, Answer

_TITLES = {"required": "Retrieval required", "free": "Retrieval free"}
_IN_STYLE = {"rnn": "mamba"}
_TAKEN = 3  # colors that the paper's architectures use
_ASIDE = 0.06  # horizontal shift between the bars of two curves, in paragraphs
_HEAD = (
    "model", "order", "paragraphs", "questions", "exact match", "95% interval", "F1", "searches", "difference",
    "95% interval, paired",
)  # fmt: skip

Cells = Mapping[tuple[str, int], Mapping[str, Answer]]


def draw(curves: Mapping[str, Cells], paper: Sequence[PaperValue]) -> Figure:
    """Draw exact match over the number of paragraphs, one panel per order: ours with intervals, the paper's dashed."""
    drawn = Figure(figsize=(10, 4.2), layout="constrained")
    panels = drawn.subplots(1, 2, sharey=True)
    for axes, order in zip(panels, ORDERS, strict=True):
        _draw_paper(axes, [value for value in paper if value.regime == f"retrieval_{order}"])
        for number, (label, cells) in enumerate(curves.items()):
            _draw_curve(axes, cells, order, label, number)
        numbers = sorted({value.n for value in paper} | {n for cells in curves.values() for _, n in cells})
        axes.set(title=_TITLES[order], xlabel="paragraphs", xticks=numbers)
        axes.grid(axis="y")
    panels[0].set(ylabel="exact match", ylim=(-0.03, 1.05))
    lines = {text: line for axes in panels for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    drawn.legend(lines.values(), lines.keys(), loc="outside right center", frameon=False)
    return drawn


def markdown(curves: Mapping[str, Cells]) -> str:
    """A table with a row for each curve, order and n; differences are from the first curve, on the same questions."""
    first = next(iter(curves.values()))
    lines = [
        _line(label, order, n, cell, None if cells is first else first.get((order, n)))
        for label, cells in curves.items()
        for (order, n), cell in sorted(cells.items(), key=lambda one: (ORDERS.index(one[0][0]), one[0][1]))
    ]
    return "\n".join(["| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD), *lines])


def _line(label: str, order: str, n: int, cell: Mapping[str, Answer], other: Mapping[str, Answer] | None) -> str:
    right = {name for name, answer in cell.items() if answer.em}
    low, high = wilson(len(right) / len(cell), len(cell))
    difference = interval = ""
    if other is not None:
        theirs = {name for name, answer in other.items() if answer.em}
        least, most = paired(len(right - theirs), len(theirs - right), len(cell))
        difference, interval = f"{(len(right) - len(theirs)) / len(cell):+.3f}", f"{least:+.3f} to {most:+.3f}"
    values = (
        label, order, str(n), str(len(cell)), f"{len(right) / len(cell):.3f}", f"{low:.3f} to {high:.3f}",
        f"{mean(one.f1 for one in cell.values()):.3f}", f"{mean(one.searches for one in cell.values()):.2f}",
        difference, interval,
    )  # fmt: skip
    return "| " + " | ".join(values) + " |"


def _draw_paper(axes: Axes, values: Sequence[PaperValue]) -> None:
    colors = architecture_colors(())
    for architecture in sorted({value.architecture for value in values}, reverse=True):
        points = sorted((value.n, value.accuracy) for value in values if value.architecture == architecture)
        numbers, accuracies = zip(*points, strict=True)
        axes.plot(
            numbers, accuracies, color=colors[_IN_STYLE.get(architecture, architecture)], linestyle="--", linewidth=1,
            marker="o", markerfacecolor="none", label=f"paper: {architecture}, 1.3B",
        )  # fmt: skip


def _draw_curve(axes: Axes, cells: Cells, order: str, label: str, number: int) -> None:
    """Draw a curve with its intervals, shifted sideways so that other curves stay visible."""
    numbers = sorted(n for there, n in cells if there == order)
    points = []
    for n in numbers:
        share = mean(answer.em for answer in cells[order, n].values())
        points.append((share, *wilson(share, len(cells[order, n]))))
    if points:
        places = [n + _ASIDE * (number + 1) for n in numbers]
        draw_points(axes, places, points, color=f"C{(_TAKEN + number) % 10}", marker="s", label=label)
