"""What no version says of a run: the code of a user's own classes, and the files that parts of data and model read."""

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

    Also of each file that a class reads, by its key. Only modules that are already imported are looked at, as those of
    a configuration are that was read.
    """
    values = {key: value for key, value in effective(configuration).items() if isinstance(value, str)}
    names = {value for value in values.values() if "." in value}
    hashes = {name: code_hash(found) for name in sorted(names) if (found := _imported(name)) is not None}
    hashes |= {key: _file_hash(Path(value)) for key, value in values.items() if _is_path(values, key)}
    return {name: found for name, found in hashes.items() if found}


def _is_path(values: dict[str, str], key: str) -> bool:
    """Whether a key of data or model is an argument that its class annotates as a path."""
    owner, _, name = key.rpartition(".init_args.")
    if not key.startswith(("data.", "model.")) or (found := _imported(values.get(f"{owner}.class_path", ""))) is None:
        return False
    argument = inspect.signature(found).parameters.get(name)
    return argument is not None and "Path" in str(argument.annotation)


def _file_hash(path: Path) -> str:
    """The sha256 of a file; empty for a folder, and for one that is gone."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
