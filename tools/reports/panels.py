"""Panels of accuracy against a number, with a line for each model."""

from collections.abc import Sequence
from statistics import mean

from figures.style import draw_guess, draw_points, ink
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.measured import Panel

_MARKERS = "osD^v"
_APART = 0.06  # distance between lines at the same number


def draw_panels(panels: Sequence[Panel]) -> Figure:
    """Draw panels side by side; lines are means over seeds, with the lowest and highest end of the seeds' intervals."""
    figure = Figure(figsize=(4.4 * len(panels), 3.4), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _draw(axes, panel)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    numbers = sorted({one.number for line in panel.lines.values() for one in line})
    for order, (name, line) in enumerate(panel.lines.items()):
        groups = [[one for one in line if one.number == number] for number in numbers]
        shift = _APART * (order - (len(panel.lines) - 1) / 2)
        places = [place + shift for place, group in enumerate(groups) if group]
        points = [
            (mean(one.accuracy for one in g), min(one.low for one in g), max(one.high for one in g))
            for g in groups
            if g
        ]
        draw_points(axes, places, points, color=f"C{order}", marker=_MARKERS[order], label=name)
        for place, group in zip(places, filter(None, groups), strict=True):
            axes.plot([place] * len(group), [one.accuracy for one in group], ".", color=ink(), markersize=3, zorder=3)
    if panel.expected is not None:
        name, shares = panel.expected
        axes.plot(
            [numbers.index(number) for number in shares],
            list(shares.values()),
            "--",
            color=ink(),
            linewidth=0.8,
            label=name,
        )
    draw_guess(axes, panel.guess, "guess")
    words = [panel.names.get(number, f"{number:g}") for number in numbers]
    axes.set(xticks=range(len(numbers)), xticklabels=words, xlabel=panel.label, title=panel.title)
    axes.set(ylim=(-0.02, 1.05), ylabel="closed-loop accuracy")
    axes.grid()
    axes.legend()
