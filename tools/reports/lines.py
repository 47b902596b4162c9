"""Accuracy against bits of state, problem size, query distance and training samples."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from statistics import mean, median

import numpy as np
from figures.style import architecture_colors, draw_guess, draw_points, ink
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sweeps.ledger import CODE

from lit_retrieval.training.memory import ceiling
from reports.rows import Row, best_of_seeds

_STYLES = {"vanilla": "-", "cot": "--", "retrieval": ":"}
_MARKERS = "os^Dv<>Pp*"  # one for each model of an architecture
_MOST_INSIDE = 5  # most lines of a legend inside a panel
_LEGEND = 2.6  # width in inches of a legend beside the panels


def draw_state_bits(rows: Sequence[Row]) -> Figure | None:
    """Draw accuracy against bits of state, with the ceiling for this state; None without a random-access code.

    The ceiling is p <= H^-1(1 - M/n), where M is the number of state bits, n the number of random bits, one of which is
    asked for, and H the binary entropy (arXiv:2402.18510, Theorem 4.6). It holds for random-access codes if the model
    can't search.
    """
    colors = architecture_colors(row.architecture for row in rows)
    rows = [row for row in rows if row.distribution == CODE and row.regime != "retrieval"]
    panels = sorted({(row.task, size) for row in rows for size in row.by_size})
    if not panels:
        return None
    figure, axes = _panels(len(panels))
    for one, (task, size) in zip(axes, panels, strict=True):
        inside = [row for row in rows if row.task == task and size in row.by_size]
        for architecture, regime in sorted({(row.architecture, row.regime) for row in inside}):
            alike = [row for row in inside if (row.architecture, row.regime) == (architecture, regime)]
            kinds = dict.fromkeys(map(_kind, alike))
            found = [row for kind in kinds for row in best_of_seeds(one for one in alike if _kind(one) == kind)]
            bits = [row.bits_of(size) for row in found]
            points = [_accuracy([row.by_size[size]]) for row in found]
            style = {"color": colors[architecture], "label": f"{architecture} {regime}"}
            draw_points(one, bits, points, marker=_MARKERS[list(_STYLES).index(regime)], linestyle="", **style)
        codes = {code for row in inside if (code := row.random_bits_of(size)) is not None}
        for code in sorted(codes):
            told = "ceiling" if len(codes) == 1 else f"ceiling of {code} bits"
            one.plot(*ceiling_line(code), color=ink(), linewidth=1, label=told)
        one.set_xscale("log", base=2)
        one.set(xlabel="bits of state", title=f"{task}, random access code, size {size}")
        _finish(one, inside)
    return figure


def ceiling_line(random_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Bits of state and the highest accuracy for each, from 0.55 on; each `(200,)`."""
    bits = random_bits * np.append(np.geomspace(0.00723, 1, 199), 1000)
    return bits, np.array([ceiling(one, random_bits) for one in bits])


def draw_lengths(rows: Sequence[Row]) -> Figure | None:
    """Draw accuracy against problem size for models that were scored on several sizes; None without such a model."""
    return _by_task(rows, lambda row: row.by_size if len(row.by_size) > 1 else {}, "problem size")


def draw_distances(rows: Sequence[Row]) -> Figure | None:
    """Draw accuracy against the distance to the answer in tokens; None if no task has distances."""
    return _by_task(rows, lambda row: row.by_distance, "tokens back, at least")


def draw_curves(rows: Sequence[Row]) -> Figure | None:
    """Draw closed-loop validation accuracy against samples seen, a line for each trial; None without a curve."""
    colors, rows = architecture_colors(row.architecture for row in rows), [row for row in rows if row.curve]
    panels = sorted({(row.task, row.regime) for row in rows})
    if not panels:
        return None
    figure, axes = _panels(len(panels))
    for one, (task, regime) in zip(axes, panels, strict=True):
        inside = [row for row in rows if (row.task, row.regime) == (task, regime)]
        markers = _markers((row.architecture, f"{row.point}, {row.sizes}") for row in inside)
        for row in inside:
            name = f"{row.point}, {row.sizes}"
            label = name if name not in one.get_legend_handles_labels()[1] else "_another seed"
            thousands = [point.samples / 1000 for point in row.curve]
            points = [(point.accuracy, point.low, point.high) for point in row.curve]
            draw_points(one, thousands, points, color=colors[row.architecture], marker=markers[name], label=label)
        one.set(xlabel="thousand samples seen", title=f"{task}, {regime}")
        _finish(one, inside)
    return figure


def _by_task(rows: Sequence[Row], groups: Callable[[Row], dict[int, dict[str, float]]], label: str) -> Figure | None:
    """A panel for each task: each model's mean over seeds against the values by which `groups` groups the scores."""
    colors, rows = architecture_colors(row.architecture for row in rows), [row for row in rows if groups(row)]
    tasks = sorted({row.task for row in rows})
    if not tasks:
        return None
    figure, axes = _panels(len(tasks))
    for one, task in zip(axes, tasks, strict=True):
        inside = [row for row in rows if row.task == task]
        markers = _markers((row.architecture, _kind(row)) for row in inside)
        for name in sorted(markers):
            seeds = best_of_seeds(row for row in inside if _kind(row) == name)
            values = sorted({value for row in seeds for value in groups(row)})
            points = [_accuracy([groups(row)[value] for row in seeds if value in groups(row)]) for value in values]
            style = {"color": colors[seeds[0].architecture], "linestyle": _STYLES[seeds[0].regime]}
            draw_points(one, values, points, marker=markers[name], label=name, **style)
        ticks = sorted({value for row in inside for value in groups(row)})
        one.set_xscale("log", base=2)
        one.set(xticks=ticks, xticklabels=ticks, xlabel=label, title=task)
        _finish(one, inside)
    return figure


def _kind(row: Row) -> str:
    return " ".join(f"{row.point} {row.level} {row.regime}, trained on {row.sizes}".split())


def _markers(lines: Iterable[tuple[str, str]]) -> dict[str, str]:
    """A marker for each line (architecture and name); lines of the same architecture get different markers."""
    of_architecture: dict[str, dict[str, str]] = defaultdict(dict)
    for architecture, name in lines:
        given = of_architecture[architecture]
        given.setdefault(name, _MARKERS[len(given) % len(_MARKERS)])
    return {name: marker for given in of_architecture.values() for name, marker in given.items()}


def _accuracy(scores: Sequence[dict[str, float]]) -> tuple[float, float, float]:
    """The mean over seeds, and the lowest and highest end of any seed's interval."""
    names = ("closed_loop_accuracy", "closed_loop_accuracy_low", "closed_loop_accuracy_high")
    accuracy, low, high = ([one.get(name, one[names[0]]) for one in scores] for name in names)
    return mean(accuracy), min(low), max(high)


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    columns = min(3, count)
    lines = -(-count // columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * lines), layout="constrained")
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def _finish(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw the common parts of all panels: the accuracy of a guess, the legend and the grid."""
    if chances := [row.chance for row in rows if row.chance is not None]:
        draw_guess(axes, median(chances), "guess")
    axes.set(ylim=(-0.02, 1.05), ylabel="closed-loop accuracy")
    if len(axes.get_legend_handles_labels()[1]) <= _MOST_INSIDE:
        axes.legend()
    else:  # beside the points, in a wider figure
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
        if (figure := axes.get_figure(root=True)) is not None:
            figure.set_figwidth(figure.get_figwidth() + _LEGEND)
    axes.grid()
