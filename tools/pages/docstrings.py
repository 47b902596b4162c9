"""Entries of the site's galleries: docstrings, arguments and ready files of classes."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def head(one: type) -> str:
    """The heading of a class, its definition, and its arguments with their defaults."""
    arguments = ", ".join(map(str, _without_annotations(one)))
    return f"### {one.__name__}\n\n{definition(one)}\n\n`{one.__name__}({arguments})`"


def definition(one: type) -> str:
    """The docstring up to the arguments, one line per paragraph, without literal blocks and their introductions.

    Indented paragraphs, formulas and tables are not changed.
    """
    text = re.split(r"^Args:", inspect.getdoc(one) or "", maxsplit=1, flags=re.MULTILINE)[0] + "\n"
    text = re.sub(r"::\n\n(?:(?: {4}.*)?\n)+", "::\n\n", text)
    paragraphs = (
        part.rstrip() if part.startswith(("|", " " * 4)) else " ".join(part.split()) for part in text.split("\n\n")
    )
    kept = (_last_sentence_off(part) if part.endswith("::") else part for part in paragraphs)
    return linked("\n\n".join(part for part in kept if part))


def linked(text: str) -> str:
    """The text with arXiv numbers and DOIs turned into links."""
    text = re.sub(r"\b((?:arXiv:)?(\d{4}\.\d{5})|arXiv:(\d{4}\.\d{4}))\b", r"[\1](https://arxiv.org/abs/\2\3)", text)
    return re.sub(r"\bdoi:(10\.\S+?)(?=[.,)]*(?:\s|$))", r"[doi:\1](https://doi.org/\1)", text)


def ready(one: type, room: str, folder: str) -> list[str]:
    """The files in a folder of `configs` that use the class, which is exported by `room`."""
    pattern = re.compile(rf"\b{re.escape(room)}\.(?:text\.)?{one.__name__}\b")
    return [
        file.stem for file in sorted((ROOT / "configs" / folder).glob("*.yaml")) if pattern.search(file.read_text())
    ]


def _without_annotations(one: type) -> Iterator[inspect.Parameter]:
    parameters = inspect.signature(one).parameters.values()
    return (parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters)


def _last_sentence_off(paragraph: str) -> str:
    *_, end = [0, *(found.end() for found in re.finditer(r"\.\)?(?= [A-Z`])", paragraph))]
    return paragraph[:end]
