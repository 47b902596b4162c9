"""Atomic writing of files and folders."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from lit_retrieval.errors import UserError


@contextmanager
def write_atomically(path: Path, mode: Literal["w", "wb"] = "w") -> Iterator[IO[Any]]:
    """Open a temporary file next to `path` for writing; it replaces `path` when the block ends.

    File and folder are flushed to the disk: after a crash at any moment, the old file or the new one is there. If the
    block raises, `path` is unchanged and the temporary file, `file.name`, is deleted.

    Args:
        path: The file to write, in a folder that exists.
        mode: `w` for text, `wb` for bytes.
    """
    staged = path.with_name(f".{path.name}.part")
    try:
        with staged.open(mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(staged, path)
        _force(path.parent)
    finally:
        staged.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path` to write in: it becomes `path` when the block ends, and is deleted if that raises.

    Raises `UserError` if `path` exists.
    """
    if path.exists():
        raise UserError(f"{path} exists; name a new folder, or delete it")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as beside:
        staged = Path(beside) / path.name
        staged.mkdir()
        yield staged
        staged.rename(path)


def _force(folder: Path) -> None:
    """Flush a folder, which has the names of its files, to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
