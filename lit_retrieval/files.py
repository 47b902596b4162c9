"""Writes a file so that no reader, and no crash, finds half of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal


@contextmanager
def write_atomically(path: Path, mode: Literal["w", "wb"] = "w") -> Iterator[IO[Any]]:
    """Open a file beside `path` for writing; it replaces `path` when the block ends.

    The content is forced onto the disk before the file is renamed, and the folder after that: a process or a machine
    that stops at any moment leaves the old file or the new one. If the block raises, `path` stays as it was and the
    file beside it is deleted. Until the block ends, the path of the new file is `file.name`.

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


def _force(folder: Path) -> None:
    """Force a folder onto the disk: it holds the names of its files."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
