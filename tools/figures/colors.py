"""The colors of our figures and pages, in a light and a dark theme."""

from typing import Literal, NamedTuple

Theme = Literal["light", "dark"]


class Colors(NamedTuple):
    """The colors of a theme, as hexadecimal numbers.

    Args:
        background: Color of the page.
        ink: Color of text, axes and outlines.
        muted: Color of the line of a guess, of a grid and of missing values.
        lines: Colors of architectures: transformer, mamba and hybrid, then others by name. The first three are close to
            Okabe and Ito's, which color-blind people can tell apart.
    """

    background: str
    ink: str
    muted: str
    lines: tuple[str, ...]


COLORS: dict[Theme, Colors] = {
    "light": Colors(
        "#ffffff", "#1a1a1a", "#808080",
        ("#0072b2", "#d55e00", "#008a63", "#b5548a", "#8f6b00", "#2f8fbf", "#7f3c8d", "#666666", "#8c564b", "#0f8a99"),
    ),
    "dark": Colors(
        "#1e2129", "#e4e6eb", "#9a9ea8",
        ("#56b4e9", "#ff8c42", "#2fc79a", "#e9a3c9", "#f0e442", "#9ad1f5", "#c39bd3", "#b0b0b0", "#c49c94", "#7fe0ea"),
    ),
}  # fmt: skip
# As in the paper's figures; they stand out from both backgrounds.
REGIME_COLORS = {"vanilla": "#3aa7d8", "cot": "#3fae49", "retrieval": "#e8604c"}
