"""Diagrams as SVG, from code: boxes, words and arrows in the colors of a theme."""

from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

from figures.colors import COLORS, Colors, Theme

_SANS, _MONO = "system-ui, sans-serif", "ui-monospace, SFMono-Regular, Menlo, monospace"
_EM = 0.62  # width of a letter in a monospaced font, as a share of its size; an upper bound over fonts
_SIZE = 14
HEIGHT = 26


class Box(NamedTuple):
    """A rectangle, from its left upper corner.

    Args:
        x, y, width, height: In pixels.
    """

    x: float
    y: float
    width: float
    height: float = HEIGHT

    @property
    def middle(self) -> float:
        """The middle from left to right."""
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.y + self.height

    @property
    def right(self) -> float:
        """The right edge."""
        return self.x + self.width


class Drawing:
    """A diagram of a given size, to which shapes are added.

    Args:
        width, height: In pixels.
        theme: Theme of the page.
        title: Description for screen readers.
    """

    def __init__(self, width: float, height: float, theme: Theme, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        self.colors: Colors = COLORS[theme]
        self._shapes: list[str] = []

    def words(self, x: float, y: float, text: str, *, anchor: str = "start", muted: bool = False, size: int = _SIZE,
              mono: bool = False, bold: bool = False) -> None:  # fmt: skip
        """Write text at x, y, which is the start, middle or end of its base line, as `anchor` says."""
        color = self.colors.muted if muted else self.colors.ink
        weight = ' font-weight="600"' if bold else ""
        self._shapes.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-family="{_MONO if mono else _SANS}" '
            f'font-size="{size}" fill="{color}"{weight}>{escape(text)}</text>'
        )

    def box(self, box: Box, text: str = "", color: str | None = None, *, mono: bool = False) -> Box:
        """Draw a rectangle with text in its middle, tinted with its color."""
        color = color or self.colors.muted
        self._shapes.append(
            f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" rx="4" fill="{color}" '
            f'fill-opacity="0.18" stroke="{color}" stroke-width="1.5"/>'
        )
        for number, line in enumerate(lines := text.split("\n") if text else []):
            middle = box.y + box.height / 2 + 5 + 18 * (number - (len(lines) - 1) / 2)
            self.words(box.middle, middle, line, anchor="middle", mono=mono)
        return box

    def tokens(self, x: float, y: float, tokens: Iterable[tuple[str, str]], gap: float = 4) -> list[Box]:
        """Draw tokens in a row, each a word and a color; returns their boxes."""
        boxes = []
        for word, color in tokens:
            boxes.append(self.box(Box(x, y, _EM * _SIZE * len(word) + 10), word, color, mono=True))
            x = boxes[-1].right + gap
        return boxes

    def line(self, points: Sequence[tuple[float, float]], color: str | None = None, *, arrow: bool = True,
             dashed: bool = False) -> None:  # fmt: skip
        """Draw a line through points, with an arrow at its end."""
        color = color or self.colors.ink
        path = " ".join(f"{'L' if number else 'M'}{x:g} {y:g}" for number, (x, y) in enumerate(points))
        dashes = ' stroke-dasharray="4 3"' if dashed else ""
        self._shapes.append(f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.5"{dashes}/>')
        if arrow:
            (from_x, from_y), (x, y) = list(pairwise(points))[-1]
            length = ((x - from_x) ** 2 + (y - from_y) ** 2) ** 0.5
            along_x, along_y = (x - from_x) / length, (y - from_y) / length
            corners = [(x - 8 * along_x + s * 4 * along_y, y - 8 * along_y - s * 4 * along_x) for s in (1, -1)]
            head = " ".join(f"{a:g},{b:g}" for a, b in [(x, y), *corners])
            self._shapes.append(f'<polygon points="{head}" fill="{color}"/>')

    def svg(self) -> str:
        """The file."""
        body = "\n".join(self._shapes)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" '
            f'width="{self.width:g}" height="{self.height:g}" role="img">\n<title>{escape(self.title)}</title>\n'
            f"{body}\n</svg>\n"
        )
