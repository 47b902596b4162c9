"""Hashes of a user's own classes, and of the files that parts of data and model read."""

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
_PACKAGES = {"site-packages", "dist-packages"}  # folders of installed packages, also of other environments


def own_code(configuration: dict[str, Any]) -> dict[str, str]:
    """Hash the code of each user-defined class and function of a run, by its path.

    Each file that a class reads is hashed too, by its key. Only imported modules are hashed; those of a parsed
    configuration are imported.
    """
    values = {key: value for key, value in effective(configuration).items() if isinstance(value, str)}
    names = {value for value in values.values() if "." in value}
    hashes = {name: code_hash(found) for name in sorted(names) if (found := _imported(name)) is not None}
    hashes |= {key: _file_hash(Path(value)) for key, value in values.items() if _is_path(values, key)}
    return {name: found for name, found in hashes.items() if found}


def _is_path(values: dict[str, str], key: str) -> bool:
    """Whether a key of data or model is annotated as a path by its class."""
    owner, _, name = key.rpartition(".init_args.")
    if not key.startswith(("data.", "model.")) or (found := _imported(values.get(f"{owner}.class_path", ""))) is None:
        return False
    argument = inspect.signature(found).parameters.get(name)
    return argument is not None and "Path" in str(argument.annotation)


def _file_hash(path: Path) -> str:
    """The sha256 of a file; empty for a folder or a missing file."""
    if not path.is_file():
        return ""
    state = path.stat()
    return _read_hash(path, state.st_mtime_ns, state.st_size)


@cache
def _read_hash(path: Path, *_version: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def code_hash(named: Any) -> str:
    """A hash of the source files of a class and its bases, or of a function, without installed packages and this one.

    Comments, layout and imported modules don't count. It is empty if there is no such file. An object keeps its hash,
    because the code in memory does not change with the file.
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
    except (OSError, TypeError):  # defined in a notebook, or built in
        return None
    file = Path(source or "")
    is_installed = any(file.is_relative_to(folder) for folder in (_PACKAGE, *_INSTALLED))
    return file if file.is_file() and not is_installed and not _PACKAGES & set(file.parts) else None
