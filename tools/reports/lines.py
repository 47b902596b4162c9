"""Accuracy against bits of state, problem size, query distance and training samples."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import mean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.rows import Row

_STYLES = {"vanilla": "-", "cot": "--", "retrieval": ":"}
_CODE = "random_access_code"


def draw_state_bits(rows: Sequence[Row]) -> Figure | None:
    """Draw accuracy against bits of state, with the ceiling that they set; None without a row.

    The ceiling is p <= H^-1(1 - M/n), for M bits of state, n random bits any one of which may be asked for, and H the
    binary entropy (arXiv:2402.18510, Theorem 4.6). It holds for random-access codes where the model may not search;
    other rows have no ceiling.
    """
    rows = [row for row in rows if row.distribution == _CODE and row.regime != "retrieval"] or list(rows)
    panels = sorted({(row.task, row.distribution, size) for row in rows for size in row.by_size})
    figure, axes = _panels(len(panels))
    for one, (task, distribution, size) in zip(axes, panels, strict=True):
        inside = [row for row in rows if (row.task, row.distribution) == (task, distribution) and size in row.by_size]
        for architecture, regime in sorted({(row.architecture, row.regime) for row in inside}):
            found = [row for row in inside if (row.architecture, row.regime) == (architecture, regime)]
            points = sorted((row.bits_of(size), row.by_size[size]["closed_loop_accuracy"]) for row in found)
            one.plot(*zip(*points, strict=True), "o" + _STYLES[regime], label=f"{architecture} {regime}", markersize=4)
        if distribution == _CODE:
            bits, accuracy = ceiling(size // 2 if task == "AssociativeRecall" else size)
            one.plot(bits, accuracy, color="black", linewidth=1, label="ceiling")
        one.set_xscale("log", base=2)
        one.set(xlabel="bits of state", title=f"{' '.join([task, *distribution.split('_')])}, size {size}")
        _finish(one)
    return figure


def ceiling(random_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Bits of state M and the best accuracy p that they allow: M = (1 - H(p)) n, then p = 1; each `(200,)`."""
    p = np.linspace(0.55, 1 - 1e-9, 199)
    entropy = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    bits = (1 - entropy) * random_bits
    return np.append(bits, 1000 * random_bits), np.append(p, 1.0)


def draw_lengths(rows: Sequence[Row]) -> Figure | None:
    """Draw accuracy against problem size, with the training sizes in the legend; None without two sizes."""
    return _by_task(_scored_on_several(rows), lambda row: row.by_size, "problem size")


def draw_distances(rows: Sequence[Row]) -> Figure | None:
    """Draw accuracy against how many tokens back the answer is; None where no task has distances."""
    return _by_task([row for row in rows if row.by_distance], lambda row: row.by_distance, "tokens back, at least")


def draw_curves(rows: Sequence[Row]) -> Figure | None:
    """Draw closed-loop validation accuracy against samples seen, a line for each trial; None without a curve."""
    rows = [row for row in rows if row.curve]
    panels = sorted({(row.task, row.regime) for row in rows})
    if not panels:
        return None
    figure, axes = _panels(len(panels))
    for one, (task, regime) in zip(axes, panels, strict=True):
        inside = [row for row in rows if (row.task, row.regime) == (task, regime)]
        names = list(dict.fromkeys(f"{row.point}, {row.sizes}" for row in inside))
        for row in inside:
            name = f"{row.point}, {row.sizes}"
            is_first = name not in one.get_legend_handles_labels()[1]
            color = f"C{names.index(name) % 10}"
            samples, accuracy = zip(*row.curve, strict=True)
            thousands = [count / 1000 for count in samples]
            one.plot(thousands, accuracy, ".-", color=color, label=name if is_first else None)
        one.set(xlabel="thousand samples seen", title=f"{task}, {regime}")
        _finish(one)
    return figure


def _scored_on_several(rows: Sequence[Row]) -> list[Row]:
    """Rows of models that were scored on several sizes, in one trial or in several."""
    kinds: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for row in rows:
        kinds[row.point, row.task, row.regime] |= set(row.by_size)
    return [row for row in rows if len(kinds[row.point, row.task, row.regime]) > 1]


def _by_task(rows: Sequence[Row], groups: Callable[[Row], dict[int, dict[str, float]]], label: str) -> Figure | None:
    tasks = sorted({row.task for row in rows})
    if not tasks:
        return None
    figure, axes = _panels(len(tasks))
    for one, task in zip(axes, tasks, strict=True):
        inside = [row for row in rows if row.task == task]
        for name in sorted({_kind(row) for row in inside}):
            of_name = [row for row in inside if _kind(row) == name]
            values = sorted({value for row in of_name for value in groups(row)})
            means = [
                mean(groups(row)[value]["closed_loop_accuracy"] for row in of_name if value in groups(row))
                for value in values
            ]
            one.plot(values, means, "o" + _STYLES[of_name[0].regime], label=name, markersize=4)
        values = sorted({value for row in inside for value in groups(row)})
        one.set_xscale("log", base=2)
        one.set(xticks=values, xticklabels=values, xlabel=label, title=task)
        _finish(one)
    return figure


def _kind(row: Row) -> str:
    trained = "" if row.sizes.isdecimal() else f", trained on {row.sizes}"
    return f"{row.point} {row.regime}{trained}"


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    columns = min(3, count)
    lines = -(-count // columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * lines), layout="constrained")
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def _finish(axes: Axes) -> None:
    axes.set(ylim=(-0.02, 1.05), ylabel="closed-loop accuracy")
    axes.title.set_fontsize(9)
    axes.legend(fontsize=6)
    axes.grid(alpha=0.3)
