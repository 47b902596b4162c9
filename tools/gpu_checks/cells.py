"""The phase that trains cells of a grid, such as the paper's 16-vertex row, by the project's own sweep."""

import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

from sweeps import files
from sweeps.curve import read_curve

from gpu_checks.check import Check
from lit_retrieval.runs import RunFolder

TOOLS = Path(__file__).parents[1]
SMOKE = TOOLS.parent / "configs" / "sweeps" / "smoke.yaml"
TO_SAVE = 25.0  # seconds between the signal and the end
MOST_BYTES = 15 * 2**20  # per file to bring back


def cells(check: Check, grid: Path, regimes: list[str], slots: int) -> None:
    """Train cells of a grid file while there is time; unfinished trials are packed, so that they can be resumed.

    The results' folder then has results.csv, curves.csv and, for unfinished trials, files unfinished.N.tar.
    """
    sweep = Path("/tmp") / f"gpu_check_{grid.stem}" if check.device == "cuda" else check.out / "cells"
    command = [sys.executable, str(TOOLS / "sweep.py"), str(SMOKE if check.is_tiny else grid), "--output", str(sweep)]
    command += ["--on", "here", "--slots", str(slots), "--any_commit", "--only", *regimes]
    process = subprocess.Popen(command, stdout=sys.stderr)  # the results' folder has room for few files
    status = _end(process, check.deadline - time.monotonic() - TO_SAVE)
    check.row(status=status, finished=len(list(sweep.glob("trials/*/result.json"))))
    for name in ("results.csv", "curves.csv"):
        shutil.copyfile(sweep / name, check.out / name)
    _tell_all(check, sweep)
    _pack_unfinished(check, sweep)


def _end(process: "subprocess.Popen[bytes]", seconds: float) -> int:
    """Wait for a sweep for some seconds, then ask it to save its trials; returns its status."""
    try:
        return process.wait(max(1.0, seconds))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        return process.wait()


def _tell_all(check: Check, sweep: Path) -> None:
    for path in sorted(sweep.glob("trials/*/trial.json")):
        notes, result = files.read(path) or {}, files.read(path.with_name("result.json"))
        trial = {name: notes[name] for name in ("hash", "point", "status", "minutes")}
        trial["steps"] = _steps(path.parent)
        with check.attempt(**trial):
            curve = read_curve(path.parent / "run")
            check.row(
                **trial, samples_per_second=curve.samples_per_second,
                val_accuracy=curve.accuracy[-1],
                test_accuracy=result["scores"]["closed_loop_accuracy"] if result else None,
            )  # fmt: skip


def _steps(trial: Path) -> int:
    newest = RunFolder(trial / "run").step_files()
    return int(newest[0].stem.removeprefix("step_")) if newest else 0


def _pack_unfinished(check: Check, sweep: Path) -> None:
    """Pack the newest checkpoint and the logs of each unfinished trial, into files that are not too large."""
    trials = [path.parent for path in sorted(sweep.glob("trials/*/trial.json"))]
    unfinished = [trial for trial in trials if not (trial / "result.json").exists()]
    number, used = 0, MOST_BYTES
    for trial in unfinished:
        kept = [path for path in trial.rglob("*") if path.is_file() and not _is_old(path, trial)]
        size = sum(path.stat().st_size for path in kept)
        if used + size > MOST_BYTES:
            number, used = number + 1, 0
        used += size
        with tarfile.open(check.out / f"unfinished.{number}.tar", "a") as archive:
            for path in kept:
                archive.add(path, path.relative_to(sweep))


def _is_old(path: Path, trial: Path) -> bool:
    run = RunFolder(trial / "run")
    return path == run.best or path in run.step_files()[1:]
