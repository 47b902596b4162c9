"""Accuracy against bits of state, as SVG: a curve for each layer, the ceiling, and the two repairs."""

from collections.abc import Sequence
from html import escape
from math import log2
from pathlib import Path
from typing import NamedTuple

from figures.colors import COLORS, Theme

from lit_retrieval.training.memory import ceiling

Row = dict[str, str]
STYLE = (Path(__file__).parent / "frontier.css").read_text()
# The layers that stand out, each with its number in `Colors.lines`: attention and Mamba have those of other figures.
HIGHLIGHTED = {
    "attention": 0, "mamba": 1, "window": 3, "deltanet": 4, "gla": 5, "linear_attention": 6, "rwkv7": 8, "lstm": 9,
}  # fmt: skip
_PACKAGES, _OWN = ("lit_retrieval.", "fla."), 2  # layers of other packages share one highlight color
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 460, 320, 44, 40, 28, 24
_COLUMNS, _LEGEND, _LETTER = 2, 44, 7  # plots in a row of the picture; pixels of its legend, and of a letter in it
_MARKS = "Hollow: the layer may search its context. Square: one attention layer behind it. Dashed: what M bits allow."


class Panel(NamedTuple):
    """One plot.

    Args:
        suite: The suite, and the suite with searches for the same question, if there is one.
        size: The tested size.
        curves: Points of each layer: bits of state and the row, ordered by bits.
        repaired: Points of the suite with searches at the largest budget.
        random_bits: Bits of the random-access code; None for other suites.
    """

    suite: str
    size: int
    curves: dict[str, list[tuple[int, Row]]]
    repaired: dict[str, tuple[int, Row]]
    random_bits: int | None


def panels(
    rows: Sequence[Row], suites: Sequence[str], repairs: dict[str, str], codes: dict[tuple[str, int], int | None]
) -> list[Panel]:
    """The plots of the suites that were run at several budgets of state."""
    done = [row for row in rows if row["accuracy"]]
    found = []
    for suite in suites:
        for size in sorted({int(row["size"]) for row in done if row["suite"] == suite}):
            curves: dict[str, list[tuple[int, Row]]] = {}
            for row in done:
                if (row["suite"], int(row["size"])) == (suite, size):
                    curves.setdefault(row["recurrence"], []).append((int(row["state_bits"]), row))
            repaired = {
                row["recurrence"]: (int(row["state_bits"]), row) for row in done if row["suite"] == repairs.get(suite)
            }
            curves = {name: sorted(points, key=lambda point: point[0]) for name, points in curves.items()}
            found.append(Panel(suite, size, curves, repaired, codes.get((suite, size))))
    return found


class _Axes:
    """Converts bits (on a logarithmic scale) and accuracy to pixels."""

    def __init__(self, panel: Panel) -> None:
        bits = [point[0] for points in panel.curves.values() for point in points]
        bits += [point[0] for name, point in panel.repaired.items() if name in panel.curves]
        self.low = int(log2(max(1, min(bits))))
        self.high = int(log2(max(bits))) + 1

    def x(self, bits: float) -> float:
        share = (log2(max(bits, 1)) - self.low) / (self.high - self.low)
        return round(_LEFT + max(0.0, share) * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, accuracy: float) -> float:
        return round(_TOP + (1 - accuracy) * (_HEIGHT - _TOP - _BOTTOM), 1)


def palette(theme: Theme) -> str:
    """The colors of a theme as variables of CSS."""
    colors = COLORS[theme]
    named = {"ground": colors.background, "ink": colors.ink, "muted": colors.muted}
    named |= {f"c{number}": line for number, line in enumerate(colors.lines)}
    return " ".join(f"--{name}: {color};" for name, color in named.items())


def legend(panels: Sequence[Panel]) -> dict[str, int]:
    """The highlighted layers, with the numbers of their colors."""
    curves = {name: points for panel in panels for name, points in panel.curves.items()}
    first = [*HIGHLIGHTED, *sorted(curves.keys() - HIGHLIGHTED.keys())]
    colors = {name: _color(name, curves[name]) for name in first if name in curves and not _is_repair(curves[name])}
    return {name: color for name, color in colors.items() if color is not None}


def picture(panels: Sequence[Panel], theme: Theme) -> str:
    """All plots as one SVG file, with a legend."""
    rows = -(-len(panels) // _COLUMNS)
    width, height = _WIDTH * min(len(panels), _COLUMNS), _HEIGHT * rows + _LEGEND
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="frontier" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img">\n<title>Closed-loop accuracy against bits of state</title>',
        f"<style>\nsvg {{ {palette(theme)} }}\n{STYLE}</style>", f'<rect width="{width}" height="{height}" '
        'style="fill: var(--ground)"/>',
    ]  # fmt: skip
    x = _LEFT
    for name, color in legend(panels).items():
        parts.append(f'<g class="curve c{color}"><polyline points="{x},14 {x + 16},14"/></g>')
        parts.append(f'<text x="{x + 21}" y="18">{escape(name)}</text>')
        x += 36 + _LETTER * len(name)
    parts.append(f'<text x="{_LEFT}" y="36">{_MARKS}</text>')
    for number, panel in enumerate(panels):
        row, column = divmod(number, _COLUMNS)
        place = f'x="{column * _WIDTH}" y="{_LEGEND + row * _HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
        parts.append(draw(panel, place))
    return "\n".join([*parts, "</svg>\n"])


def draw(panel: Panel, place: str = "") -> str:
    """The plot as SVG; layers that are not `HIGHLIGHTED` are pale until the pointer is on them.

    Args:
        panel: The data.
        place: Attributes of the SVG element, such as its position in a picture.
    """
    axes = _Axes(panel)
    parts = [f'<svg class="frontier" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" {place} '
             f'aria-label="accuracy against bits of state, {escape(panel.suite)}">']  # fmt: skip
    parts.append(f'<text class="head" x="{_LEFT}" y="16">{escape(panel.suite)}, size {panel.size}</text>')
    parts += _frame(axes)
    if panel.random_bits is not None:
        parts.append(_ceiling(axes, panel.random_bits))
    for name, points in sorted(panel.curves.items(), key=lambda item: _color(*item) is not None):
        parts.append(_curve(axes, name, points, panel.repaired.get(name)))
    return "\n".join([*parts, "</svg>"])


def _color(name: str, points: Sequence[tuple[int, Row]]) -> int | None:
    """The number of a layer's color; with an attention layer behind it, a layer keeps its color."""
    if not points[0][1]["class_path"].startswith(_PACKAGES):
        return _OWN
    return HIGHLIGHTED.get(name.removesuffix("_attention") if _is_repair(points) else name)


def _is_repair(points: Sequence[tuple[int, Row]]) -> bool:
    return points[0][1]["with_attention"] == "1"


def _frame(axes: _Axes) -> list[str]:
    parts = []
    for power in range(axes.low, axes.high + 1, max(1, (axes.high - axes.low) // 6)):
        x = axes.x(2**power)
        label = (
            f"{2**power:,}" if power < 10 else f"{2 ** (power - 10):,}k" if power < 20 else f"{2 ** (power - 20):,}M"
        )
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{axes.y(1)}" y2="{axes.y(0)}"/>')
        parts.append(f'<text x="{x}" y="{_HEIGHT - 22}" text-anchor="middle">{label}</text>')
    for tenth in (0, 2, 4, 6, 8, 10):
        y = axes.y(tenth / 10)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{tenth / 10:.1f}</text>')
    parts.append(f'<text x="{(_LEFT + _WIDTH) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">bits of state</text>')
    return parts


def _ceiling(axes: _Axes, random_bits: int) -> str:
    """The curve H^-1(1 - M/n)."""
    shares = [share / 20 for share in range(21)]
    bits = [2**axes.low + share * (random_bits - 2**axes.low) for share in shares if random_bits > 2**axes.low]
    points = [(axes.x(one), axes.y(ceiling(int(one), random_bits))) for one in bits]
    points += [(axes.x(random_bits), axes.y(1)), (axes.x(2**axes.high), axes.y(1))]
    path = " ".join(f"{x},{y}" for x, y in points)
    return (
        f'<polyline class="ceiling" points="{path}"><title>ceiling H^-1(1 - M/n), n = {random_bits}</title></polyline>'
    )


def _curve(axes: _Axes, name: str, points: Sequence[tuple[int, Row]], repaired: tuple[int, Row] | None) -> str:
    color = "pale" if (number := _color(name, points)) is None else f"c{number}"
    path = " ".join(f"{axes.x(bits)},{axes.y(float(row['accuracy']))}" for bits, row in points)
    parts = [f'<g class="curve {color}" data-layer="{escape(name)}"><polyline points="{path}"/>']
    parts += [_mark(axes, bits, row, "circle") for bits, row in points]
    if repaired is not None:
        parts.append(_mark(axes, *repaired, "searched"))
    return "".join([*parts, "</g>"])


def _mark(axes: _Axes, bits: int, row: Row, kind: str) -> str:
    x, y = axes.x(bits), axes.y(float(row["accuracy"]))
    how = " with searches" if kind == "searched" else ""
    told = f"{row['recurrence']}{how}: {float(row['accuracy']):.3f} ({row['low']} to {row['high']}), {bits:,} bits"
    if row["with_attention"] == "1":
        return f'<rect class="mark" x="{x - 4}" y="{y - 4}" width="8" height="8"><title>{escape(told)}</title></rect>'
    return f'<circle class="mark {kind}" cx="{x}" cy="{y}" r="4"><title>{escape(told)}</title></circle>'
