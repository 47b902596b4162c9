"""Lightning's reading and writing of checkpoints."""

from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import CheckpointIO

from lit_retrieval import runs


class AtomicCheckpointIO(CheckpointIO):
    """Writes checkpoints atomically, with their sha256, and never loads a file that could run code.

    Args:
        path: A file that has already been read.
        content: Its content; the first `load_checkpoint` returns and releases it.
    """

    def __init__(self, path: Path | None = None, content: dict[str, Any] | None = None) -> None:
        self._read = {path: content}

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a file; see `runs.save_checkpoint`."""
        runs.save_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a file onto the CPU; see `runs.load_checkpoint`. Always behaves as `weights_only=True`."""
        return self._read.pop(Path(path), None) or runs.load_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a file and its hash."""
        runs.remove_checkpoint(Path(path))
