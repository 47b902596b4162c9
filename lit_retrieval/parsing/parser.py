"""A command-line parser with one-line errors."""

import difflib
import pydoc
import re
import sys
from argparse import HelpFormatter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from lit_retrieval.errors import UserError
from lit_retrieval.parsing.plain_errors import plain

USER_ERROR = 2
_FEW_KEYS = 8  # most keys that an error line lists


class OneLineErrors(ArgumentParser):
    """A parser with one-line errors, and without abbreviated keys."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self._negative_number_matcher = re.compile(r"-\.?\d")  # argparse takes -1e-3 after a space for an option

    def format_help(self, formatter: HelpFormatter | None = None) -> str:
        """The help, with readable types: `type: Path`, not `type: <class 'Path'>`."""
        return re.sub(r"<class\s+'([\w.]+)'>", r"\1", super().format_help(formatter))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error, with the nearest valid key if a key is unknown, and exit with status 2."""
        parser = getattr(ex, "subcommand_parser", None) or self
        fail(_abstract_methods(message) or plain(message) + _nearest_key(message, parser))


def fail(message: str) -> NoReturn:
    """Print one line on standard error, and exit with status 2."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(USER_ERROR)


def put_first(option: str, arguments: Sequence[str]) -> list[str]:
    """Insert `option` before the class of a command if the user left it out: `check my.Layer --init_args ...`."""
    words = [f"{option}.init_args" if word == "--init_args" else word for word in arguments]
    return [*words[:1], option, *words[1:]] if len(words) > 1 and not words[1].startswith("-") else words


@contextmanager
def one_line_errors() -> Iterator[None]:
    """On a `UserError`, or a file that can't be read or written, end the process with one line and status 2."""
    try:
        with files_are_told():
            yield
    except UserError as error:
        fail(str(error))


@contextmanager
def files_are_told() -> Iterator[None]:
    """Raise a `UserError` for a file that can't be read or written."""
    try:
        yield
    except OSError as error:
        if error.filename is None:  # not about a file
            raise
        raise UserError(f"{error.filename}: {error.strerror}; name another path") from error


def _abstract_methods(message: str) -> str:
    """The message for a class that lacks methods; empty for other errors."""
    found = re.search(r"class, but ([\w.]+) is abstract", message)
    missing = sorted(getattr(pydoc.locate(found[1]), "__abstractmethods__", ())) if found else []
    return f"{found[1]} must define {' and '.join(missing)}; add this to the class" if found and missing else ""


def _nearest_key(message: str, parser: ArgumentParser) -> str:
    keys = [option.lstrip("-") for action in parser._actions for option in action.option_strings]
    for wrong in re.findall(r"(?:unrecognized arguments: --|accept option '|Option ')([\w.]+)", message):
        if nearest := difflib.get_close_matches(wrong, keys, 1):
            return f"; did you mean {nearest[0]}?"
    known = sorted({re.split(r"[.+]", key)[0] for key in keys} - {"help", "h", "config"})
    few = message.startswith("Option '") and 0 < len(known) <= _FEW_KEYS
    return f"; the keys here are {', '.join(known)}" if few else ""
