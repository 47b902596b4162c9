"""The folder of a run: where what is, which checkpoint to go on from, and who may write."""

import contextlib
import errno
import fcntl
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import yaml

from lit_retrieval.errors import DamagedCheckpointError, UserError
from lit_retrieval.runs.checkpoint_file import load_checkpoint, remove_checkpoint

# What the system says where nobody can make a folder, or this user can't.
_NO_PLACE = {errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS}


class Found(NamedTuple):
    """A checkpoint that is whole.

    Args:
        path: The file.
        content: What is in it.
        damaged: What was wrong with newer ones, a line each.
    """

    path: Path
    content: dict[str, Any]
    damaged: list[str]


@dataclass(frozen=True)
class RunFolder:
    """One run's folder.

    Args:
        path: `config.yaml`, the scalars for TensorBoard and `checkpoints/` are in it.
    """

    path: Path

    @property
    def best(self) -> Path:
        """The checkpoint with the best score."""
        return self.path / "checkpoints/best.ckpt"

    def step_file(self, step: int) -> Path:
        """The checkpoint after so many optimiser steps."""
        return self.path / f"checkpoints/step_{step}.ckpt"

    def step_files(self) -> list[Path]:
        """The checkpoints to go on from, newest first; whole or not."""
        files = {path: self._step(path) for path in self.path.glob("checkpoints/step_*.ckpt")}
        return sorted(files, key=lambda path: files[path], reverse=True)

    def newest(self) -> Found | None:
        """The newest checkpoint that is whole; None in a new folder. Raises `UserError` if none of several is."""
        damaged: list[str] = []
        for path in self.step_files():
            try:
                return Found(path, load_checkpoint(path), damaged)
            except DamagedCheckpointError as error:
                damaged.append(str(error))
        if damaged:
            raise UserError(f"{damaged[0]}, and {self.path} has no older one that is whole; add --fresh to begin anew")
        return None

    def prune(self, step: int, keep: int) -> None:
        """Leave the newest `keep` checkpoints of those up to `step`; later ones are damaged, or step would be later."""
        for path in [path for path in self.step_files() if self._step(path) > step]:
            remove_checkpoint(path)
        for path in self.step_files()[keep:]:
            remove_checkpoint(path)

    def configuration(self) -> dict[str, Any] | None:
        """What the run was started with; None in a new folder."""
        try:
            content: dict[str, Any] = yaml.safe_load((self.path / "config.yaml").read_text())
        except FileNotFoundError:
            return None
        except (yaml.YAMLError, UnicodeDecodeError):
            raise UserError(f"{self.path / 'config.yaml'} can't be read; add --fresh to begin anew") from None
        return content

    def newest_beside(self) -> "RunFolder":
        """The last folder that `--fresh` has made beside this one, or this one."""
        there = list(takewhile(Path.exists, self._names()))
        return RunFolder(there[-1]) if there else self

    def next_beside(self) -> "RunFolder":
        """This folder if it is new, or the first name beside it that is."""
        return RunFolder(next(path for path in self._names() if not path.exists()))

    def _names(self) -> Iterator[Path]:
        yield self.path
        for number in count(2):
            yield self.path.with_name(f"{self.path.name}-{number}")

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder for one writer; `UserError` if another process has it. The system frees it with the process.

        The lock lies beside the folder, which is made only when all ranks know that it is the one. A file system
        without locks is left unguarded.
        """
        with self._open_lock() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"another process is training in {self.path}; wait for it, or name another folder in --run_dir"
                ) from None
            except OSError:
                pass
            yield

    def _open_lock(self) -> TextIO:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return self.path.with_name(f".{self.path.name}.lock").open("w")
        except OSError as error:
            if error.errno not in _NO_PLACE:
                raise
            raise UserError(
                f"the folder {self.path} can't be made: {error.strerror}; name another in --run_dir"
            ) from None

    @staticmethod
    def _step(path: Path) -> int:
        digits = path.stem.removeprefix("step_")
        return int(digits) if digits.isdigit() else -1
