"""The code of classes that a configuration names and that are a user's own: no version says what it is."""

import ast
import hashlib
import inspect
import sysconfig
from pathlib import Path
from pydoc import locate
from typing import Any

from lit_retrieval.runs.configuration import effective

_PACKAGE = Path(__file__).parents[1]
_INSTALLED = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
_NAMING = ("class_path", "data.retriever")  # how keys end that name a class or a function


def own_code(configuration: dict[str, Any]) -> dict[str, str]:
    """A hash of the code of each class and function of a user's own that a run depends on, by its path."""
    names = {value for key, value in effective(configuration).items() if key.endswith(_NAMING)}
    hashes = {name: code_hash(locate(name)) for name in sorted(names) if isinstance(name, str)}
    return {name: found for name, found in hashes.items() if found}


def code_hash(named: Any) -> str:
    """A hash of the files of a class and its bases, or of a function, that are neither installed nor of this package.

    Comments and layout don't count, nor do modules that these files import. Empty if there is no such file.
    """
    files = {file for one in getattr(named, "__mro__", [named]) if (file := _own_file(one)) is not None}
    texts = [ast.unparse(ast.parse(file.read_text(encoding="utf-8"))) for file in sorted(files)]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:8] if texts else ""


def _own_file(named: Any) -> Path | None:
    try:
        file = inspect.getsourcefile(named)
    except TypeError:  # it is built in, or of a notebook
        return None
    if file is None or not Path(file).is_file():
        return None
    return None if any(Path(file).is_relative_to(folder) for folder in (_PACKAGE, *_INSTALLED)) else Path(file)
