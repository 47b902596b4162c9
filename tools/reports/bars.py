"""The paper's Figures 2 and 5: our accuracy as bars, the paper's as outlines."""

from collections.abc import Sequence
from itertools import product

from figures.colors import REGIME_COLORS
from figures.style import draw_guess, guess_handle, ink
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from reports.cells import Cell
from reports.rows import REGIMES

_LABELS = {"vanilla": "Vanilla", "cot": "CoT", "retrieval": "Retrieval"}
_WIDTH = 0.27
_LOWEST = 0.4  # as in the paper
_GUESS = 0.5  # half of the graphs are trees


def draw_bars(cells: Sequence[Cell], figure: str) -> Figure | None:
    """Draw one figure: a row for each architecture, a column for each model size; None without cells.

    With one model size, the architectures are side by side.
    """
    cells = [cell for cell in cells if cell.figure == figure]
    architectures = sorted({cell.architecture for cell in cells}, reverse=True)
    model_sizes = list(dict.fromkeys(cell.model_size for cell in cells))
    if not cells:
        return None
    kinds = list(product(architectures, model_sizes))
    columns = len(model_sizes) if len(model_sizes) > 1 else len(architectures)
    rows = len(kinds) // columns
    # A single group of bars gets a narrow figure, so that its text can be read on a phone.
    is_narrow = len({cell.n for cell in cells}) == 1
    width = 2.2 * columns + 0.4 if is_narrow else max(7.0, 3.2 * columns + 0.6)
    legend, legend_columns = _legend(cells), 2 * columns if is_narrow else 7
    height = 2.3 * rows + 0.4 * -(-len(legend) // legend_columns)
    drawn = Figure(figsize=(width, height), layout="constrained")
    panels = drawn.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, (architecture, model_size) in zip(panels.flat, kinds, strict=True):
        inside = [cell for cell in cells if (cell.architecture, cell.model_size) == (architecture, model_size)]
        _draw_panel(axes, inside, f"{model_size} {architecture.upper()}")
    for axes in panels[:, 0]:
        axes.set_ylabel(f"accuracy, from {_LOWEST}")
    for axes in panels[-1]:
        axes.set_xlabel("vertices")
    style = {"ncols": legend_columns, "columnspacing": 1.2, "handlelength": 1.6}
    drawn.legend(handles=legend, loc="outside lower center", frameon=False, **style)
    return drawn


def _draw_panel(axes: Axes, cells: Sequence[Cell], title: str) -> None:
    numbers = sorted({cell.n for cell in cells})
    places = {
        (n, regime): group + offset * _WIDTH
        for (group, n), (offset, regime) in product(enumerate(numbers), enumerate(REGIMES, -1))
    }
    for missing in places.keys() - {(cell.n, cell.regime) for cell in cells}:
        axes.text(places[missing], _LOWEST + 0.02, "not run", rotation=90, ha="center", fontsize=7, color="gray")
    for cell in cells:
        place = places[cell.n, cell.regime]
        axes.bar(place, cell.mean - _LOWEST, _WIDTH, bottom=_LOWEST, color=REGIME_COLORS[cell.regime])
        if cell.paper is not None:
            axes.bar(place, cell.paper - _LOWEST, _WIDTH, bottom=_LOWEST, fill=False, edgecolor=ink(), linewidth=1.2)
        seeds = cell.ours("paper_score")
        axes.plot([place] * len(seeds), seeds, ".", color=ink(), markersize=5)
        if any(row.is_rising for row in cell.rows):
            axes.annotate("↑", (place, max(seeds)), (0, 4), textcoords="offset points", ha="center", fontsize=9)
    draw_guess(axes, _GUESS)
    axes.set(title=title, xticks=range(len(numbers)), xticklabels=numbers, ylim=(_LOWEST, 1.08))
    axes.set_xlim(-0.8, len(numbers) - 0.2)


def _legend(cells: Sequence[Cell]) -> list[Patch | Line2D]:
    sizes = sorted({cell.paper_size for cell in cells if cell.paper_size != cell.model_size})
    of = f"the paper's {sizes[0]} model" if sizes else "the paper"
    return [
        *(Patch(color=color, label=_LABELS[regime]) for regime, color in REGIME_COLORS.items()),
        Patch(fill=False, edgecolor=ink(), label=of),
        Line2D([], [], color=ink(), marker=".", linestyle="", label="each seed"),
        guess_handle(),
        Line2D([], [], color=ink(), marker="$↑$", linestyle="", label="curve still rising"),
    ]
