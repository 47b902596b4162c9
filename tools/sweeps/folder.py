"""The folder of a sweep: one process at a time writes into it, and its trials are of one commit and tested alike."""

import errno
import fcntl
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lit_retrieval.errors import UserError
from sweeps import files
from sweeps.grid import Trial

_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Lock the folder for one sweep; the system releases it when the process ends.

    A file system without locks is not guarded, and a line says so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another sweep runs in {folder}; wait for it, or set another folder in --output") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            print(f"warning: the file system of {folder} has no locks; start no second sweep there", file=sys.stderr)
        yield


def check_commits(chosen: Sequence[Trial], folder: Path, commit: str) -> None:
    """Raise `UserError` if another commit has begun a trial."""
    for trial in chosen:
        begun = files.trial_folder(folder, trial.hash)
        if (notes := files.read(begun / "trial.json")) and notes["commit"] != commit:
            raise UserError(
                f"{begun} was begun at commit {notes['commit']}, and this is {commit}; check {notes['commit']} out, "
                "set another folder in --output, or allow both with --any_commit"
            )


def rename(chosen: Sequence[Trial], folder: Path) -> None:
    """Write the names that points and levels have now into the files of trials that began under other names."""
    for trial in chosen:
        names = {"point": trial.point, "level": trial.level}
        for name in ("trial.json", "result.json"):
            path = files.trial_folder(folder, trial.hash) / name
            content = files.read(path)
            if content is not None and content | names != content:
                files.write(content | names, path)


def check_tests(chosen: Sequence[Trial], folder: Path) -> None:
    """Raise `UserError` if a finished trial was tested otherwise than is asked for now, or had another time limit."""
    for trial in chosen:
        path, now = files.trial_folder(folder, trial.hash) / "result.json", how_tested(trial)
        there = (files.read(path) or {}).get("tested")
        if there is None:
            continue
        there = {"trainer": now["trainer"], **there}  # which earlier versions did not write
        if (limit := there["trainer"]["max_time"]) != now["trainer"]["max_time"]:
            raise UserError(
                f"trainer.max_time is {now['trainer']['max_time']}, and was {limit} when {path} was written; remove "
                f"{path.parent} to train again, or set another folder in --output"
            )
        if there != now:
            raise UserError(f"the tests are others now than when {path} was written; remove it to test again, or "
                            "set another folder in --output")  # fmt: skip


def how_tested(trial: Trial) -> dict[str, Any]:
    """What a result depends on beside the hash of its trial, as JSON has it."""
    data = {key: trial.configuration["data"].get(key) for key in ("test_samples", "test_file", "suite")}
    trainer = {key: trial.configuration["trainer"].get(key) for key in ("max_time", "limit_test_batches")}
    return {
        "checkpoint": trial.checkpoint, "tests": {name: list(keys) for name, keys in trial.tests}, "data": data,
        "trainer": trainer,
    }  # fmt: skip
