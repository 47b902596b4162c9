"""The style of all figures: what can be read on a light page and on a dark one."""

import pytest

pytest.importorskip("matplotlib")
from figures import style
from figures.colors import COLORS, REGIME_COLORS
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread


def luminance(color):
    """Relative luminance, WCAG 2.2."""
    parts = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in to_rgb(color)]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", COLORS)
def test_text_and_lines_stand_out_from_the_page(theme):
    """By WCAG 2.2: 4.5 for text, 3 for lines; regimes are areas with an outline beside them."""
    colors = COLORS[theme]
    assert contrast(colors.ink, colors.background) > 7
    assert all(contrast(line, colors.background) > 3 for line in (*colors.lines, colors.muted))
    assert all(contrast(color, colors.background) > 2.5 for color in REGIME_COLORS.values())
    assert len(set(colors.lines)) == 10


def test_an_architecture_of_the_paper_has_its_color_whatever_else_is_drawn():
    few, many = style.architecture_colors(["hybrid"]), style.architecture_colors(["attention", "gla", "hybrid"])
    assert few["hybrid"] == many["hybrid"] == "C2" and few["mamba"] == "C1"
    assert len(set(many.values())) == len(many) == 5


@pytest.mark.parametrize(("theme", "names"), [("light", ["one.pdf", "one.png"]), ("dark", ["one_dark.png"])])
def test_a_figure_is_saved_on_the_page_of_its_theme(theme, names, tmp_path):
    with style.drawn_in(theme):
        figure = Figure(figsize=(2, 2), layout="constrained")
        axes = figure.subplots()
        style.draw_points(axes, [1, 2], [(0.5, 0.4, 0.6), (0.9, 0.9, 0.9)], color="C1")
        style.draw_guess(axes, 0.25, "guess")
        assert style.ink() == COLORS[theme].ink
        files = style.save(figure, tmp_path / "one", theme)
    assert sorted(path.name for path in tmp_path.iterdir()) == names == sorted(path.name for path in files)
    pixels = imread(next(tmp_path.glob("*.png")))
    assert pixels[0, 0, :3] == pytest.approx(to_rgb(COLORS[theme].background), abs=1 / 255)
    mamba = to_rgb(COLORS[theme].lines[1])
    assert (abs(pixels[..., :3] - mamba).max(-1) < 2 / 255).any()
