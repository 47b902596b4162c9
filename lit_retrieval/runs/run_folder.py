"""The folder of a run: its files, the checkpoint to resume from, and its lock."""

import contextlib
import errno
import fcntl
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import yaml

from lit_retrieval.errors import DamagedCheckpointError, FolderInUseError, UserError
from lit_retrieval.runs.checkpoint_file import read_checkpoint, remove_checkpoint

# System errors when a folder can't be created.
_NO_PLACE = {errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS}


class Found(NamedTuple):
    """A valid checkpoint.

    Args:
        path: The file.
        content: Its content.
        sha256: The sha256 of the file.
        damaged: An error line for each newer checkpoint that is damaged.
    """

    path: Path
    content: dict[str, Any]
    sha256: str
    damaged: list[str]


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run.

    Args:
        path: The folder, with `config.yaml`, TensorBoard's files and `checkpoints/`.
    """

    path: Path

    @property
    def best(self) -> Path:
        """The checkpoint with the best score, at the path that the folder's configuration sets."""
        configuration = self.configuration()  # may have any content, if somebody has edited the file
        given = (configuration.get("checkpoint") if isinstance(configuration, dict) else None) or {}
        folder = Path(given.get("dirpath") or self.path / "checkpoints").expanduser()
        name = given.get("filename", "best")
        if name is not None and "{" not in name and not given.get("enable_version_counter"):
            return folder / f"{name}.ckpt"
        found = self.newest()  # it stores the name that a pattern has become
        states = {} if found is None else found.content["callbacks"]
        paths = [one["best_model_path"] for key, one in states.items() if key.startswith("BestCheckpoint")]
        return folder / Path(next(iter(paths), "best.ckpt")).name

    def step_file(self, step: int) -> Path:
        """The checkpoint after `step` optimizer steps."""
        return self.path / f"checkpoints/step_{step}.ckpt"

    def step_files(self) -> list[Path]:
        """The checkpoints to resume from, `step_NUMBER.ckpt`, newest first; some may be damaged."""
        found = [path for path in self.path.glob("checkpoints/step_*.ckpt") if self._step(path) >= 0]
        return sorted(found, key=self._step, reverse=True)

    def newest(self) -> Found | None:
        """The newest valid checkpoint, None in a new folder; raises `UserError` if all are damaged."""
        damaged: list[str] = []
        for path in self.step_files():
            try:
                return Found(path, *read_checkpoint(path), damaged)
            except DamagedCheckpointError as error:
                damaged.append(str(error))
        if damaged:
            raise UserError(f"{damaged[0]}, and {self.path} has no older valid one; add --fresh to start over")
        return None

    def prune(self, step: int, keep: int) -> None:
        """Remove all but the newest `keep` checkpoints up to `step`; any later ones are damaged."""
        for path in [path for path in self.step_files() if self._step(path) > step]:
            remove_checkpoint(path)
        for path in self.step_files()[keep:]:
            remove_checkpoint(path)

    def configuration(self) -> dict[str, Any] | None:
        """The run's configuration in the format of this version; None in a new folder."""
        try:
            content: dict[str, Any] = yaml.safe_load((self.path / "config.yaml").read_text())
        except FileNotFoundError:
            return None
        except (yaml.YAMLError, UnicodeDecodeError):
            raise UserError(
                f"{self.path / 'config.yaml'} can't be read; restore it, or use another run folder"
            ) from None
        _add_what_was_not_a_key(content)
        return content

    def last(self) -> Found:
        """The newest valid checkpoint; raises `UserError` if there is none."""
        if (found := self.newest()) is None:
            raise UserError(f"{self.path} has no checkpoint; train with `fit` first, or name the folder of another run")
        return found

    def newest_beside(self) -> "RunFolder":
        """The newest folder that `--fresh` has created for this run; this one if there is none."""
        there = list(takewhile(Path.exists, self._names()))
        return RunFolder(there[-1]) if there else self

    def next_beside(self) -> "RunFolder":
        """The folder for `--fresh`: this one or NAME-2, NAME-3, ..., the first that does not exist."""
        return RunFolder(next(path for path in self._names() if not path.exists()))

    def _names(self) -> Iterator[Path]:
        yield self.path
        for number in count(2):
            yield self.path.with_name(f"{self.path.name}-{number}")

    @contextlib.contextmanager
    def writing(self, seen: Sequence[Path] | None = None) -> Iterator[None]:
        """Lock the folder for one writer; raises `FolderInUseError` if another process has the lock.

        It also raises if the checkpoints are no longer those that were `seen`.

        The lock is a file next to the folder, because the folder is created later. It ends with the process. A file
        system without locks is not protected.
        """
        with self._open_lock() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FolderInUseError(
                    f"another process is training in {self.path}; wait for it, or set another folder in --run_dir"
                ) from None
            except OSError:
                pass
            if seen is not None and list(seen) != self.step_files():
                raise FolderInUseError(f"another process has just trained in {self.path}; start again")
            yield

    @contextlib.contextmanager
    def undone_after(self, is_mistake: Callable[[Exception], bool]) -> Iterator[None]:
        """After a mistake, remove the folder if this block created it and it has no checkpoint; needs the lock."""
        is_new = not self.path.exists()
        try:
            yield
        except Exception as error:
            if is_new and is_mistake(error) and not self.step_files():
                shutil.rmtree(self.path, ignore_errors=True)
            raise

    def _open_lock(self) -> TextIO:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return self.path.with_name(f".{self.path.name}.lock").open("w")
        except OSError as error:
            if error.errno not in _NO_PLACE:
                raise
            raise UserError(
                f"the folder {self.path} can't be created: {error.strerror}; set another in --run_dir"
            ) from None

    @staticmethod
    def _step(path: Path) -> int:
        digits = path.stem.removeprefix("step_")
        return int(digits) if digits.isdigit() else -1


def after_steps(step: int) -> str:
    """The text `after 1 step`, `after 1,000 steps`."""
    return f"after {step:,} step" + ("" if step == 1 else "s")


def _add_what_was_not_a_key(value: Any) -> None:
    """Set keys that older versions did not have to what those versions did: MQAR wrote all of its answers."""
    if isinstance(value, dict) and value.get("class_path") == "lit_retrieval.tasks.MQAR":
        value["init_args"] = {"answers": "written", **(value.get("init_args") or {})}
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _add_what_was_not_a_key(child)
