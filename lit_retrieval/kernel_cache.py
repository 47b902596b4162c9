"""Lets Numba compile a kernel again when a kernel or a constant that it takes from another file has changed.

Numba compares the kernel's own file alone, and would go on with the old code of all others. It finds these classes by
NUMBA_CACHE_LOCATOR_CLASSES, see `numba_cache.watch_imports`.
"""

import re
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from numba.core.caching import InTreeCacheLocator, UserProvidedCacheLocator

_ROOM = Path(__file__).parent
_IMPORT = re.compile(r"^from\s+([\w.]+)\s+import\s+(\([^)]*|.*)", re.MULTILINE)


class _Stamped:
    """A locator whose kernels are as fresh as the `stamp` of their file."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        super().__init__(py_func, py_file)  # type: ignore[call-arg]
        self.file = Path(py_file)

    def get_source_stamp(self) -> str:
        return stamp(self.file)


class UserProvidedLocator(_Stamped, UserProvidedCacheLocator):
    """Keeps kernels in the folder of NUMBA_CACHE_DIR, if there is one."""


class InTreeLocator(_Stamped, InTreeCacheLocator):
    """Keeps kernels beside their file, in `__pycache__`."""


def stamp(file: Path) -> str:
    """A hash of a file and of all that it imports, directly or not, from this package and from its own folder."""
    found, due = {file}, [file]
    while due:
        one = due.pop()
        new = _imported(one, one.stat().st_mtime_ns) - found
        found |= new
        due += new
    return sha256(b"".join(_digest(one, one.stat().st_mtime_ns) for one in sorted(found))).hexdigest()


@cache
def _digest(file: Path, changed_ns: int) -> bytes:
    return sha256(file.read_bytes()).digest()


@cache
def _imported(file: Path, changed_ns: int) -> frozenset[Path]:
    """The files from which a file imports names, by `from`, when it is imported itself."""
    found = []
    for module, imported in _IMPORT.findall(file.read_text()):
        first, *parts = module.split(".")
        place = (_ROOM if first == _ROOM.name else file.parent / first).joinpath(*parts)
        found += [place, *(place / name for name in re.findall(r"\w+", imported))]
    files = (path for place in found for path in (place.with_name(f"{place.name}.py"), place / "__init__.py"))
    return frozenset(path for path in files if path.is_file())
