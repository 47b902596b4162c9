"""Tables and maps of values as pictures, drawn with Pillow, which TensorBoard needs for images anyway."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Picture = npt.NDArray[np.uint8]
"""`(height, width, 3)`, from 0 to 255."""

_MARGIN, _LINE, _BAR = 4, 14, 64  # pixels
_EMPTY = (225, 225, 225)
# From dark at 0 to bright at 1: five colors of matplotlib's viridis, interpolated.
_COLORS = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], dtype=np.float64)


def color(values: npt.NDArray[np.floating]) -> Picture:
    """Values from 0 to 1 as colors, `(rows, columns)` to `(rows, columns, 3)`; NaN is gray."""
    scaled = np.nan_to_num(np.clip(values, 0, 1)) * (len(_COLORS) - 1)
    below = np.minimum(scaled.astype(int), len(_COLORS) - 2)
    share = (scaled - below)[..., None]
    mixed = (1 - share) * _COLORS[below] + share * _COLORS[below + 1]
    return np.where(np.isnan(values)[..., None], _EMPTY, mixed).astype(np.uint8)


def table(values: npt.NDArray[np.floating], rows: Sequence[str], columns: Sequence[str], title: str) -> Picture:
    """A table whose cells show their value, from 0 to 1, as color and digits.

    Args:
        values: `(rows, columns)`; cells with NaN are empty.
        rows, columns: The labels of the rows and columns.
        title: The line at the top.
    """
    cell, left = max(44, *(7 * len(name) + 8 for name in columns)), 7 * max(map(len, rows)) + 12
    image = Image.new(
        "RGB", (max(left + cell * len(columns), 7 * len(title)) + 8, 2 * _LINE + 8 + 24 * len(rows)), "white"
    )
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=11)
    draw.text((_MARGIN, 2), title, "black", font)
    colors = color(values)
    for column, name in enumerate(columns):
        draw.text((left + cell * column + _MARGIN, _LINE + 2), name, "black", font)
    for line, name in enumerate(rows):
        top = 2 * _LINE + 6 + 24 * line
        draw.text((_MARGIN, top + 5), name, "black", font)
        for column, value in enumerate(values[line]):
            box = (left + cell * column, top, left + cell * (column + 1) - 2, top + 22)
            draw.rectangle(box, tuple(colors[line, column].tolist()))
            if not np.isnan(value):
                draw.text((box[0] + 6, top + 5), f"{value:.2f}", "black" if value > 0.6 else "white", font)
    return np.asarray(image)


def panels(maps: Sequence[tuple[str, npt.NDArray[np.floating]]], columns: int, most: str = "1") -> Picture:
    """Maps of values from 0 to 1 below their titles, `columns` maps in a row, above the scale of their colors.

    Args:
        maps: The titles and the values, `(rows, columns)` each.
        columns: Maps in a row.
        most: What the color of 1 stands for.
    """
    scale = _scale(most)
    pictures = [_panel(title, values) for title, values in maps]
    width, height = max(one.shape[1] for one in pictures), max(one.shape[0] for one in pictures)
    lines = -(-len(pictures) // columns)
    across = max(min(columns, len(pictures)) * width, scale.shape[1])
    whole = np.full((lines * height + scale.shape[0], across, 3), 255, np.uint8)
    whole[lines * height :, : scale.shape[1]] = scale
    for index, picture in enumerate(pictures):
        top, left = index // columns * height, index % columns * width
        whole[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return whole


def _scale(most: str) -> Picture:
    """The colors from 0 to 1 as a bar, with a label at each end."""
    font = ImageFont.load_default(size=11)
    image = Image.new("RGB", (3 * _MARGIN + 10 + _BAR + 7 * len(most), _LINE + 4), "white")
    draw = ImageDraw.Draw(image)
    draw.text((_MARGIN, 1), "0", "black", font)
    image.paste(Image.fromarray(color(np.tile(np.linspace(0, 1, _BAR), (_LINE - 4, 1)))), (_MARGIN + 10, 4))
    draw.text((2 * _MARGIN + 10 + _BAR, 1), most, "black", font)
    return np.asarray(image)


def _panel(title: str, values: npt.NDArray[np.floating]) -> Picture:
    image = Image.new("RGB", (max(values.shape[1], 6 * len(title)) + 2 * _MARGIN, values.shape[0] + _LINE + 8), "white")
    ImageDraw.Draw(image).text((_MARGIN, 1), title, "black", ImageFont.load_default(size=11))
    image.paste(Image.fromarray(color(values)), (_MARGIN, _LINE + 2))
    return np.asarray(image)
