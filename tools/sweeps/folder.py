"""The folder of a sweep: it has one writer at a time, and all its trials share a commit and the way of testing."""

import errno
import fcntl
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import read_manifest
from sweeps import files
from sweeps.grid import Trial

_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Lock the folder for one sweep; the system releases it when the process ends.

    A file system without locks is not protected; a line is printed about it.
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
    """Update the names of points and levels in the files of trials that began under other names."""
    for trial in chosen:
        names = {"point": trial.point, "level": trial.level}
        for name in ("trial.json", "result.json"):
            path = files.trial_folder(folder, trial.hash) / name
            content = files.read(path)
            if content is not None and content | names != content:
                files.write(content | names, path)


def check_tests(chosen: Sequence[Trial], folder: Path) -> None:
    """Raise `UserError` if a finished trial was tested in another way, or stopped by another time limit."""
    for trial in chosen:
        path, now = files.trial_folder(folder, trial.hash) / "result.json", how_tested(trial)
        result = files.read(path) or {}
        if "tested" not in result:
            continue
        # Earlier versions did not write all of it.
        there = {"trainer": now["trainer"], "files": now["files"], **result["tested"]}
        limits = [one["trainer"]["max_time"] for one in (there, now)]
        if limits[0] != limits[1] and result["minutes"] >= min(map(minutes_of, limits)):
            raise UserError(
                f"trainer.max_time is {limits[1]}, and was {limits[0]} when {path} was written; remove {path.parent} "
                "to train again, or set another folder in --output"
            )
        if {**there, "trainer": _tests_of(there)} != {**now, "trainer": _tests_of(now)}:
            raise UserError(f"the tests are others now than when {path} was written; remove it to test again, or "
                            "set another folder in --output")  # fmt: skip


def _tests_of(tested: dict[str, Any]) -> Any:
    return tested["trainer"]["limit_test_batches"]


def minutes_of(limit: Any) -> float:
    """The minutes of a `trainer.max_time`, such as 00:00:10:00 or {'minutes': 10}; infinity for None."""
    if limit is None:
        return math.inf
    text, units = str(limit), ("days", "hours", "minutes", "seconds")
    parts = yaml.safe_load(text) if text.startswith("{") else dict(zip(units, map(int, text.split(":")), strict=True))
    return timedelta(**parts) / timedelta(minutes=1)


def how_tested(trial: Trial) -> dict[str, Any]:
    """All that a result depends on besides the hash of its trial, as JSON values."""
    data = {key: trial.configuration["data"].get(key) for key in ("test_samples", "test_file", "suite")}
    trainer = {key: trial.configuration["trainer"].get(key) for key in ("max_time", "limit_test_batches")}
    words = [word for _, keys in trial.tests for word in keys]
    named = {data["test_file"], *(path for key, path in pairwise(words) if key == "--data.test_file")} - {None, "null"}
    paths = {name: Path(trial.place) / str(name) for name in sorted(named)}
    return {
        "checkpoint": trial.checkpoint, "tests": {name: list(keys) for name, keys in trial.tests}, "data": data,
        "trainer": trainer, "files": {name: read_manifest(path)["sha256"] for name, path in paths.items()},
    }  # fmt: skip
