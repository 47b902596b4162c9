"""The code of classes that a configuration names and that are a user's own: no version says what it is."""

import ast
import hashlib
import inspect
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any

from lit_retrieval.runs.configuration import effective

_PACKAGE = Path(__file__).parents[1]
_INSTALLED = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
_PACKAGES = {"site-packages", "dist-packages"}  # folders of packages that another environment or a user has


def own_code(configuration: dict[str, Any]) -> dict[str, str]:
    """A hash of the code of each class and function of a user's own that a run depends on, by its path.

    Only modules that are already imported are looked at, as those of a configuration are that was read.
    """
    names = {value for value in effective(configuration).values() if isinstance(value, str) and "." in value}
    hashes = {name: code_hash(found) for name in sorted(names) if (found := _imported(name)) is not None}
    return {name: found for name, found in hashes.items() if found}


@cache
def code_hash(named: Any) -> str:
    """A hash of the files of a class and its bases, or of a function, that are neither installed nor of this package.

    Comments and layout don't count, nor do modules that these files import. Empty if there is no such file. An object
    keeps its hash, since what is in memory does not change with the file.
    """
    files = {file for one in getattr(named, "__mro__", [named]) if (file := _own_file(one)) is not None}
    texts = [ast.unparse(ast.parse(file.read_text(encoding="utf-8"))) for file in sorted(files)]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest() if texts else ""


def _imported(name: str) -> Any:
    """The class or function of this name, or None."""
    module, _, last = name.rpartition(".")
    found = getattr(sys.modules.get(module), last, None)
    return found if inspect.isclass(found) or inspect.isfunction(found) else None


def _own_file(named: Any) -> Path | None:
    try:
        source = inspect.getsourcefile(named)
    except (OSError, TypeError):  # it is of a notebook, or built in
        return None
    file = Path(source or "")
    is_installed = any(file.is_relative_to(folder) for folder in (_PACKAGE, *_INSTALLED))
    return file if file.is_file() and not is_installed and not _PACKAGES & set(file.parts) else None
