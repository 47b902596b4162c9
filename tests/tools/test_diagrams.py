"""The diagrams of the concepts."""

import re
from xml.etree import ElementTree

import pytest

pytest.importorskip("matplotlib")  # its colors are those of the figures
import diagrams

FILES = dict(diagrams.files())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_diagram_is_that_of_the_code_and_nothing_leaves_it(path):
    text = path.read_text()
    assert text == FILES[path], f"write it again: {diagrams.COMMAND}"
    root = ElementTree.fromstring(text)
    width, height = float(root.get("width")), float(root.get("height"))
    assert root[0].tag.endswith("title") and root[0].text
    for shape in root.iter():
        kind = shape.tag.rpartition("}")[2]
        if kind == "rect":
            x, y, wide, high = (float(shape.get(name)) for name in ("x", "y", "width", "height"))
        elif kind == "text":
            anchor, wide = shape.get("text-anchor"), 0.55 * float(shape.get("font-size")) * len(shape.text)
            x = float(shape.get("x")) - {"start": 0, "middle": wide / 2, "end": wide}[anchor]
            y, high = float(shape.get("y")), 0
        else:
            continue
        assert min(x, y) >= 0 and x + wide <= width and y + high <= height, shape.attrib


@pytest.mark.parametrize("name", diagrams.DIAGRAMS)
def test_themes_differ_in_colors_alone(name):
    light, dark = (
        re.sub(r"#[0-9a-f]{6}", "", FILES[diagrams.IMAGES / f"{name}{suffix}.svg"]) for suffix in ("", "_dark")
    )
    assert light == dark
