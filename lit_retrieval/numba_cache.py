"""Where Numba keeps compiled kernels if the package is in a folder that this user can't write."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

_NAME = "NUMBA_CACHE_DIR"


def set_cache_folder(package: Path) -> None:
    """Name a folder of this user in `NUMBA_CACHE_DIR`, unless there is one or the package's own can be written.

    Numba by itself ends with a traceback if neither `__pycache__` beside a kernel nor the home folder can be written.
    """
    if _NAME in os.environ or os.access(package, os.W_OK):
        return
    folder = str(next(path for path in _folders() if _is_ours(path)))
    os.environ[_NAME] = folder
    if "numba" in sys.modules:  # it has read the environment already
        sys.modules["numba"].config.CACHE_DIR = folder


def _folders() -> Iterator[Path]:
    import tempfile

    yield Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "lit_retrieval"
    yield Path(tempfile.gettempdir()) / f"lit_retrieval-{os.getuid()}"
    yield Path(tempfile.mkdtemp(prefix="lit_retrieval-"))


def _is_ours(path: Path) -> bool:
    """Whether the folder is there, is this user's and no other's: what is in it is run."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
    except OSError:
        return False
    is_private = status.st_uid == os.getuid() and not status.st_mode & 0o022
    return is_private and path.is_absolute() and not path.is_symlink() and os.access(path, os.W_OK)
