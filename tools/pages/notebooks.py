"""Converts tutorials from Python files with cells to notebooks, and from notebooks to pages of the site."""

import base64
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from pages.markdown import ROOT, rewrite

FOLDER = ROOT / "docs/tutorials"
_CELL = re.compile(r"^# %%(.*)\n", re.MULTILINE)
_KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
_FOR_TERMINALS = re.compile(r"\x1b\[[\d;?]*[A-Za-z]|\r(?=\n)")  # colors and hidden cursors


class Page(NamedTuple):
    """A page of the site: its Markdown, and its pictures, PNG files, by name."""

    text: str
    pictures: dict[str, bytes]


def from_source(text: str) -> dict[str, Any]:
    """A notebook without outputs, from a Python file in which `# %%` begins each cell.

    `# %% [markdown]` begins a text cell, written as comments, and `# %% FILE.py` a cell whose code is written to that
    file. If all lines of a cell are comments that begin with `!`, they are shell commands.
    """
    _, *parts = _CELL.split(text)
    titles_and_bodies = zip(parts[::2], parts[1::2], strict=True)
    cells = [_cell(number, title.strip(), body) for number, (title, body) in enumerate(titles_and_bodies)]
    return {"cells": cells, "metadata": _KERNEL, "nbformat": 4, "nbformat_minor": 5}


def _cell(number: int, title: str, body: str) -> dict[str, Any]:
    lines, cell = body.strip("\n").split("\n"), {"id": f"cell-{number}", "metadata": {}}
    comments = [line.removeprefix("#").removeprefix(" ") for line in lines]
    if title == "[markdown]":
        return {"cell_type": "markdown", **cell, "source": _source(comments)}
    if all(line.startswith("# !") for line in lines):
        lines = comments
    written = [f"%%writefile {title}"] if title else []
    return {"cell_type": "code", **cell, "source": _source([*written, *lines]), "outputs": [], "execution_count": None}


def _source(lines: list[str]) -> list[str]:
    """Lines in a notebook's format: all but the last end with a newline."""
    return [*(f"{line}\n" for line in lines[:-1]), *lines[-1:]]


def page(path: Path, attached: set[str]) -> Page:
    """The page of a notebook with outputs; files that it links to are added to `attached`."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    source = path.relative_to(ROOT).as_posix()
    site = source.removeprefix("docs/").replace(".ipynb", ".md")
    for cell in json.loads(path.read_text())["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(rewrite(text, source, site, attached))
            continue
        parts.append(_block("bash" if text.startswith("!") else "python", text))
        for output in cell["outputs"]:
            data = output.get("data", {"text/plain": output.get("text", "")})
            if "image/png" in data:
                name = f"{path.stem}_{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![What the cell above draws]({name}){{ .output }}")
            else:
                shown = _FOR_TERMINALS.sub("", "".join(data["text/plain"]))
                parts.append(_block("{ .text .output }", shown))
    download = f"[This page as a notebook]({path.name}), to run and to change."
    return Page("\n\n".join([parts[0], download, *parts[1:]]) + "\n", pictures)


def _block(language: str, text: str) -> str:
    """A code block, with a fence longer than any in its text."""
    fence = "`" * max(3, *(1 + len(found) for found in re.findall("`{3,}", text)), 3)
    return f"{fence}{language}\n{text.strip(chr(10))}\n{fence}"
