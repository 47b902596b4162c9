"""Where Numba keeps compiled kernels, when it compiles them again, and a line that says so."""

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

_FOLDER, _LOCATORS = "NUMBA_CACHE_DIR", "NUMBA_CACHE_LOCATOR_CLASSES"


def set_cache_folder(package: Path) -> None:
    """Set `NUMBA_CACHE_DIR` to a folder of this user, unless it is set or the package's folder is writable.

    Numba raises an error if neither `__pycache__` next to a kernel nor the home folder is writable.
    """
    if _FOLDER not in os.environ and not os.access(package, os.W_OK):
        _set(_FOLDER, str(next(path for path in _folders() if _is_ours(path))))


def watch_imports() -> None:
    """Let Numba compile a kernel again when a file has changed from which the kernel's file imports.

    Numba's own classes follow, for kernels in notebooks and archives.
    """
    if _LOCATORS not in os.environ:
        ours = "lit_retrieval.kernel_cache.UserProvidedLocator,lit_retrieval.kernel_cache.InTreeLocator"
        _set(_LOCATORS, f"{ours},UserWideCacheLocator,IPythonCacheLocator,ZipCacheLocator")


def _set(name: str, value: str) -> None:
    os.environ[name] = value
    if "numba" in sys.modules:  # it has already read the environment
        setattr(sys.modules["numba"].config, name.removeprefix("NUMBA_"), value)


@cache
def announce_compilation() -> None:
    """Print a line when Numba first compiles in this process; what it loads from its cache takes no time."""
    from numba.core import event

    class Announcement(event.Listener):
        is_due = True

        def on_start(self, event: Any) -> None:
            if self.is_due:
                print("compiling kernels, once (about a minute)", file=sys.stderr, flush=True)
            self.is_due = False

        def on_end(self, event: Any) -> None:
            pass

    event.register("numba:compile", Announcement())  # type: ignore[no-untyped-call]


def _folders() -> Iterator[Path]:
    import tempfile

    yield Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "lit_retrieval"
    yield Path(tempfile.gettempdir()) / f"lit_retrieval-{os.getuid()}"
    yield Path(tempfile.mkdtemp(prefix="lit_retrieval-"))


def _is_ours(path: Path) -> bool:
    """Whether the folder exists and only this user can write to it: code in it is run."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
    except OSError:
        return False
    is_private = status.st_uid == os.getuid() and not status.st_mode & 0o022
    return is_private and path.is_absolute() and not path.is_symlink() and os.access(path, os.W_OK)
