"""The page of all YAML keys, from the parser of the command line."""

import io
import os
import re
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from typing import NamedTuple
from unittest.mock import patch

from lit_retrieval.cli import main

_HEAD = """\
# YAML keys

Every key of `python -m lit_retrieval fit`, from its parser. In YAML the dots are levels, and any key is an option of
the command line: `--model.learning_rate 1e-3`. A class is named by `class_path`, with its arguments in `init_args`;
`python -m lit_retrieval fit --data.task.help CLASS` lists them. `validate`, `test` and `predict` have the same keys of
the model, the data and the trainer.

"""
_ENTRY = re.compile(r"  (-.*?)(?:\s{2,}(.*))?$")
_DETAILS = re.compile(r" \(((?:required|type|default)\b.*)\)$")
_SKIPPED = ("help", "config", "print_config")


class Key(NamedTuple):
    """A key with its default (empty if it has none) and a sentence about it."""

    name: str
    default: str
    about: str


def page() -> str:
    """The page, in Markdown."""
    parts = [_HEAD]
    for title, keys in groups():
        rows = [f"| `{key.name}` | {_cell(key.default, code=True)} | {_cell(key.about)} |" for key in keys]
        prefix, dot, _ = keys[0].name.partition(".")
        heading = f"## {prefix}\n\n{title}.\n" if dot else f"## {title}\n"
        parts.append("\n".join([heading, "| key | default | meaning |", "|---|---|---|", *rows, "\n"]))
    return "".join(parts).rstrip("\n") + "\n"


def groups() -> list[tuple[str, list[Key]]]:
    """The titles and keys of the groups in the help; keys outside groups come first."""
    command: list[Key] = []
    parts = []
    for group in re.split(r"\n\n(?=\S)", _help()):
        first, *lines = group.splitlines()
        title, lines = (first[:-1], lines) if first.endswith(":") else ("", [first, *lines])
        keys = [key for option, about in _entries(lines) if (key := _key(option, about)) is not None]
        if keys and "." in keys[0].name:
            parts.append((title, keys))
        else:
            command += keys
    return [("The command", command), *parts]


def _entries(lines: list[str]) -> Iterator[list[str]]:
    """The options of a group, each with its help."""
    entries: list[list[str]] = []
    for line in lines:
        if found := _ENTRY.match(line):
            entries.append([found[1], found[2] or ""])
        elif line and entries:
            entries[-1][1] = f"{entries[-1][1]} {line.strip()}".strip()
    yield from entries


def _key(option: str, about: str) -> Key | None:
    """A key; None for a whole group, and for options that are not keys."""
    name = re.findall(r"--([\w.]+)", option)[0]
    if name.split(".")[-1] in _SKIPPED or about == "Path to a configuration file.":
        return None
    details = _DETAILS.search(about)
    default = re.search(r"default: (.*?)(?:, known subclasses: .*)?$", details[1]) if details else None
    required = "required" if details and details[1].startswith("required") else ""
    return Key(name, default[1] if default else required, _DETAILS.sub("", about))


def _help() -> str:
    """The help of `fit` from its first group on, one option per line."""
    printed = io.StringIO()
    with patch.dict(os.environ, {"COLUMNS": "100000"}), redirect_stdout(printed), suppress(SystemExit):
        main(["fit", "--help"])
    return printed.getvalue().partition("\noptions:\n")[2]


def _cell(text: str, code: bool = False) -> str:
    text = " ".join(text.split()).replace("|", "\\|")
    return f"`{text}`" if code and text else text
