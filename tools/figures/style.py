"""The style of all figures: fonts, colors by architecture, the line of a guess and intervals, in light and dark."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.rcsetup import cycler

from figures.colors import COLORS, Theme

Point = tuple[float, float, float]

# Each of these figures has the same color everywhere: their order is that of `Colors.lines`.
_ARCHITECTURES = ("transformer", "mamba", "hybrid")
_GUESS: dict[str, Any] = {"linestyle": (0, (1, 3)), "linewidth": 1}
_DPI = 150


@contextmanager
def drawn_in(theme: Theme) -> Iterator[None]:
    """A block in which figures are made and saved in the colors of a theme."""
    colors = COLORS[theme]
    inks = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "legend.labelcolor")
    backgrounds = ("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor")
    settings: dict[str, Any] = {
        "font.family": "DejaVu Sans",  # comes with matplotlib, so a figure is the same everywhere
        "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "legend.fontsize": 7,
        "xtick.labelsize": 8, "ytick.labelsize": 8,
        "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
        "grid.color": colors.muted, "grid.alpha": 0.25,
        "axes.prop_cycle": cycler(color=colors.lines),
        "pdf.fonttype": 42,  # TrueType; publishers refuse Type 3
        **dict.fromkeys(inks, colors.ink), **dict.fromkeys(backgrounds, colors.background),
    }  # fmt: skip
    with rc_context(settings):  # type: ignore[arg-type]
        yield


def ink() -> str:
    """The color of text in the current theme."""
    return str(rcParams["text.color"])


def architecture_colors(names: Iterable[str]) -> dict[str, str]:
    """A color for each architecture, the same in all panels; the paper's three have the same colors in all figures."""
    ordered = [*_ARCHITECTURES, *sorted(set(names) - set(_ARCHITECTURES))]
    return {name: f"C{number % 10}" for number, name in enumerate(ordered)}


def draw_guess(axes: Axes, chance: float, label: str | None = None) -> None:
    """A dotted line at the accuracy of a blind guess."""
    axes.axhline(chance, color=COLORS["light"].muted, label=label, **_GUESS)


def guess_handle() -> Line2D:
    """The line of a guess, for a custom legend."""
    return Line2D([], [], color=COLORS["light"].muted, label="guess", **_GUESS)


def draw_points(axes: Axes, places: Sequence[float], points: Sequence[Point], **style: Any) -> None:
    """A line through points of accuracy, each `(accuracy, low, high)` with the ends of its interval as a bar."""
    accuracy, low, high = np.array(points).T
    ends = np.maximum(0, [accuracy - low, high - accuracy])  # an interval has fewer digits than its middle
    axes.errorbar(places, accuracy, ends, markersize=4, elinewidth=0.8, capsize=2, **style)


def save(figure: Figure, path: Path, theme: Theme) -> list[Path]:
    """Write a figure as PNG and PDF, in the dark theme only as PNG, NAME_dark.png; returns the files."""
    if theme == "dark":
        files = [path.with_name(f"{path.name}_dark.png")]
    else:
        files = [path.with_name(f"{path.name}.{ending}") for ending in ("png", "pdf")]
    for file in files:
        figure.savefig(file, dpi=_DPI)
    return files
