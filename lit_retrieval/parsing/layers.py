"""Applies files and options in order: each list or class replaces the earlier one as a whole.

jsonargparse itself merges lists item by item, and passes the arguments of a class on to the class that replaces it.
"""

from argparse import Action, ArgumentParser
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace

from lit_retrieval.errors import UserError
from lit_retrieval.parsing.parser import one_line_errors
from lit_retrieval.parsing.yaml_file import parse_yaml, read_yaml

_REPLACE = "--replace"
_CONFIG = ("--config", "-c")
_SUFFIXES = {".yaml", ".yml"}


class Replace(Action):
    """An option that clears the value of a key, or resets a group of keys to their defaults; see `replace_whole`."""

    def __call__(self, parser: ArgumentParser, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Clear the key `values`."""
        value = namespace.get(values)
        if isinstance(value, Namespace) and "class_path" not in value:
            namespace[values] = parser.get_defaults()[values]  # type: ignore[attr-defined]
        else:
            _forget(namespace, values)


def replace_whole(arguments: Sequence[str], parts: Sequence[str], whole: Sequence[str] = ()) -> list[str]:
    """Insert `--replace KEY` before each list and each class, so that it replaces the earlier one.

    If a file or an option lists a key twice, the process ends with one line and status 2.

    Args:
        arguments: The arguments after the command.
        parts: Options that may be a class, or a file of keys.
        whole: Options that a file replaces as a whole: keys that the file does not set get their defaults.
    """
    words: list[str] = []
    for word, following in pairwise([*arguments, "--"]):
        option, equals, value = word.partition("=")
        is_layer = option in _CONFIG or (option.startswith("--") and ("." in option or option[2:] in parts))
        if is_layer and not option.endswith("+") and (equals or not following.startswith("--")):
            words += [f"{_REPLACE}={key}" for key in _replaced(option, value if equals else following, whole)]
        words.append(word)
    return words


def _replaced(option: str, value: str, whole: Sequence[str]) -> list[str]:
    """The keys that an option replaces."""
    with one_line_errors():
        if option in _CONFIG:
            if not Path(value).is_file():  # the parser reports it
                return []
            content, key, folder = read_yaml(Path(value)), "", Path(value).parent
        else:
            content, key, folder = _parse(option, value), option.removeprefix("--"), Path()
        _check_files(content, folder)
        return list(_keys(content, key, folder, whole, in_part=bool(key)))


def _parse(option: str, value: str) -> Any:
    try:
        return parse_yaml(value)
    except UserError as error:
        raise UserError(f"{option}, {error}") from None
    except yaml.YAMLError:
        return value  # text


def _keys(value: Any, key: str, folder: Path, whole: Sequence[str], in_part: bool) -> Iterator[str]:
    """The keys of lists, classes and single values in a part of a configuration.

    `in_part` is true within an option or a file. There a key with a plus raises `UserError`, because jsonargparse does
    not know the list that it would append to.
    """
    if key.endswith("+"):  # appends to the list
        if in_part:
            raise UserError(f"{key} must be an option, --{key}, or stand in the file of --config itself")
        return
    file = _file(value, folder)
    content = value if file is None else read_yaml(file)
    if not _is_group(content) or (file is not None and key in whole):
        yield key
        return
    for name, child in content.items():
        place = folder if file is None else file.parent
        yield from _keys(child, f"{key}.{name}" if key else name, place, whole, in_part or file is not None)


def _is_group(content: Any) -> bool:
    """Whether a value sets some keys of a group, or some arguments of a class that is named elsewhere."""
    return isinstance(content, dict) and "class_path" not in content and all(isinstance(name, str) for name in content)


def _check_files(value: Any, folder: Path) -> None:
    """Read all files that a part of a configuration names; raises `UserError` if one lists a key twice."""
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_files(child, folder)
    if file := _file(value, folder):
        _check_files(read_yaml(file), file.parent)


def _file(value: Any, folder: Path) -> Path | None:
    """The YAML file whose path the value is; None for other values."""
    is_path = isinstance(value, str) and Path(value).suffix in _SUFFIXES
    return folder / value if is_path and (folder / value).is_file() else None


def _forget(values: Any, key: str) -> None:
    """Remove a key; in a list it belongs to the last item, and init_args may be left out, as on the command line."""
    first, _, rest = key.partition(".")
    if isinstance(values, list):
        values = values[-1] if values else None
    if isinstance(values, Namespace) and first not in values and "init_args" in values:
        values = values["init_args"]
    if isinstance(values, Namespace) and first in values:
        if rest:
            _forget(values[first], rest)
        else:
            values.pop(first)
