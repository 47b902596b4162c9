"""The folder of a sweep: one process at a time writes into it, and its trials are of one commit and tested alike."""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lit_retrieval.errors import UserError
from sweeps import files
from sweeps.grid import Trial


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Lock the folder for one sweep; the system releases it when the process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another sweep runs in {folder}; wait for it, or set another folder in --output") from None
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


def check_tests(chosen: Sequence[Trial], folder: Path) -> None:
    """Raise `UserError` if a finished trial was tested otherwise than is asked for now."""
    for trial in chosen:
        path = files.trial_folder(folder, trial.hash) / "result.json"
        there = (files.read(path) or {}).get("tested")
        if there is not None and there != how_tested(trial):
            raise UserError(f"the tests are others now than when {path} was written; remove it to test again, or "
                            "set another folder in --output")  # fmt: skip


def how_tested(trial: Trial) -> dict[str, Any]:
    """What the tests of a trial depend on beside its training, as JSON has it."""
    data = {key: trial.configuration["data"].get(key) for key in ("test_samples", "test_file", "suite")}
    return {"checkpoint": trial.checkpoint, "tests": {name: list(keys) for name, keys in trial.tests}, "data": data}
