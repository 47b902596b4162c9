"""Runs one trial: `fit` and each `test` as processes, restarted after a crash, skipped if finished."""

import shlex
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from pydoc import locate
from types import MappingProxyType
from typing import Any

import torch

from lit_retrieval.errors import PREEMPTED
from lit_retrieval.runs import RunFolder
from lit_retrieval.tasks import read_manifest
from sweeps import files
from sweeps.commands import Running, Start, start_fresh, start_warm
from sweeps.curve import read_curve
from sweeps.folder import how_tested, minutes_of
from sweeps.grid import Trial
from sweeps.ledger import CODE

# A mistake in the configuration and a loss that is not finite recur at every start.
_FINAL = {2: "a mistake in its configuration", 3: "a loss that is not finite"}
_STOPPED = "stopped"
_LOOK_EVERY, _LOOK_OFTEN = 1.0, 0.1  # seconds
_NOTE_EVERY = 10.0


def is_final(reason: str) -> bool:
    """Whether a failure would recur at every start; others, such as a lack of memory, may not."""
    return any(f" ended with {told}" in reason for told in _FINAL.values())


def run_trial(
    trial: Trial, sweep: Path, commit: str, retries: int, cpus: int, stopping: threading.Event | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> None:  # fmt: skip
    """Run a trial to its end, or resume it.

    Its folder then has `result.json`, or a `trial.json` with the status `failed` and the reason, or, after a stop, with
    the status `waiting`. A training that has ended, also at its time limit, is not continued; `trainer.max_time` limits
    all starts of the training together.

    Args:
        trial: The trial.
        sweep: Folder of the sweep.
        commit: Commit of the code, for the record.
        retries: Restarts after a crash.
        cpus: Number of threads.
        stopping: Event after which the trial saves itself and ends.
        environment: Additional environment variables of the commands.
    """
    folder, stopping = files.trial_folder(sweep, trial.hash), stopping or threading.Event()
    if (folder / "result.json").exists() or stopping.is_set():
        return
    before = files.read(folder / "trial.json") or {}
    notes = {
        "hash": trial.hash, "point": trial.point, "level": trial.level, "seed": trial.seed, "commit": commit,
        "status": "running",
        "command": f"python -m lit_retrieval {shlex.join(['fit', *trial.arguments])}",
        "attempts": before.get("attempts", 0), "crashes": 0, "minutes": before.get("minutes", 0.0),
        "is_trained": before.get("is_trained", False) and bool(RunFolder(folder / "run").step_files()),
    }  # fmt: skip
    found: dict[str, dict[str, Any]] = {}
    environment = {**environment, "SLURM_JOB_NAME": "interactive"}  # so that Lightning starts the processes
    environment = {**environment, **{name: str(cpus) for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")}}
    steps = [("fit", "", ()), *(("test", *test) for test in trial.tests)]
    for step, name, tested in steps[notes["is_trained"] :]:
        reason = _persist(trial, step, tested, folder, notes, retries, environment, stopping)
        if reason == _STOPPED:
            files.write({**notes, "status": "waiting"}, folder / "trial.json")
            return
        if reason:
            files.write({**notes, "status": "failed", "reason": reason}, folder / "trial.json")
            return
        notes["is_trained"] = True
        if step == "test":
            found[name] = files.read(folder / "run/scores.json") or {}
    files.write(_result(trial, folder, notes, found), folder / "result.json")
    files.write({**notes, "status": "finished"}, folder / "trial.json")


def _persist(
    trial: Trial, step: str, tested: Sequence[str], folder: Path, notes: dict[str, Any], retries: int,
    environment: Mapping[str, str], stopping: threading.Event,
) -> str:  # fmt: skip
    """Run a step until it succeeds; returns the reason of a failure, else an empty text."""
    while True:
        notes["attempts"] += step == "fit"
        status, minutes = _run(trial, step, tested, folder, notes, environment, stopping)
        if step == "fit":
            notes["minutes"] += minutes
        if status == 0:
            return ""
        if stopping.is_set():
            return _STOPPED
        if status in _FINAL:
            return f"{step} ended with {_FINAL[status]}: {_last_line(folder)}"
        if status == PREEMPTED:
            continue
        notes["crashes"] += 1
        if notes["crashes"] > retries:
            return f"{step} crashed {notes['crashes']} times, the last with status {status}: {_last_line(folder)}"


def _run(
    trial: Trial, step: str, tested: Sequence[str], folder: Path, notes: dict[str, Any],
    environment: Mapping[str, str], stopping: threading.Event,
) -> tuple[int, float]:  # fmt: skip
    """Run one command to its end, or until `stopping` is set; returns its exit status and its minutes."""
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [
        step, *trial.arguments, "--run_dir", str(folder.resolve() / "run"), "--trainer.devices", _devices(trial),
        "--trainer.enable_progress_bar", "false",
        *(["--ckpt_path", trial.checkpoint, *tested] if step == "test" else _time_left(trial, notes["minutes"])),
    ]  # fmt: skip
    # A forked process can't use CUDA if its parent has used it, and importing fla does.
    is_warm = trial.is_warm and not torch.cuda.is_available()
    start: Start = start_warm if is_warm else start_fresh
    begun = noted = time.monotonic()
    process = start(arguments, trial.place, folder.resolve() / "log.txt", environment)
    try:
        files.write(notes, folder / "trial.json")
        while (status := process.poll()) is None:
            if stopping.wait(_LOOK_OFTEN if is_warm else _LOOK_EVERY):
                status = _end(process)
                break
            if step == "fit" and time.monotonic() - noted > _NOTE_EVERY:
                noted = time.monotonic()
                files.write({**notes, "minutes": notes["minutes"] + (noted - begun) / 60}, folder / "trial.json")
    except OSError:  # such as a full disk
        _end(process)
        raise
    return status, (time.monotonic() - begun) / 60


def _end(process: Running) -> int:
    """Let a command save the run and end; returns its exit status. (A test will start over the next time.)"""
    process.terminate()
    return process.wait()


def _devices(trial: Trial) -> str:
    """The devices of a trial: its number of GPUs if it has several, else 1."""
    return str(int(trial.gpus)) if trial.gpus > 1 and torch.cuda.is_available() else "1"


def _time_left(trial: Trial, minutes: float) -> list[str]:
    """Options with the rest of a training's time limit after some minutes; empty without a limit or minutes."""
    limit = trial.configuration["trainer"].get("max_time")
    if limit is None or not minutes:
        return []
    left = max(1, round(60 * (minutes_of(limit) - minutes)))
    days, hours, rest = left // 86400, left // 3600 % 24, left % 3600
    return ["--trainer.max_time", f"{days:02}:{hours:02}:{rest // 60:02}:{rest % 60:02}"]


def _result(trial: Trial, folder: Path, notes: dict[str, Any], found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The content of `result.json`: the scores of the first test and, under `tests`, those of each named test."""
    curve = read_curve(folder / "run")
    batch = trial.configuration["data"]["batch_size"] * trial.configuration["trainer"]["accumulate_grad_batches"]
    return {
        **{
            name: notes[name] for name in ("hash", "point", "level", "seed", "commit", "command", "attempts", "minutes")
        },
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "configuration": trial.configuration,
        "samples_per_step": batch,
        "validated": validated_samples(trial.configuration, Path(trial.place)),
        "curve": curve._asdict(),
        "tested": how_tested(trial),
        "random_bits": _random_bits(trial, next(iter(found.values()))),
        **next(iter(found.values())),
        **({"tests": found} if list(found) != [""] else {}),
    }


def validated_samples(configuration: dict[str, Any], place: Path) -> int:
    """The number of samples of a validation, of a task without end; a validation file is relative to `place`."""
    data, limit = configuration["data"], configuration["trainer"].get("limit_val_batches")
    file, batch = data.get("val_file"), data["eval_batch_size"]
    count = int(data["val_samples"] if file is None else read_manifest(place / Path(file).expanduser())["samples"])
    if limit is None:
        return count
    taken = limit if isinstance(limit, int) else int(limit * -(-count // batch))
    return min(count, int(batch) * taken)


def _random_bits(trial: Trial, scores: dict[str, Any]) -> dict[str, int]:
    """The random bits of a problem of each tested size, if the task is one of our random access codes."""
    task = trial.configuration["data"]["task"]
    arguments = task.get("init_args", {})
    made = locate(task["class_path"]) if arguments.get("distribution") == CODE else None
    if made is None or not task["class_path"].startswith("lit_retrieval."):
        return {}
    bits = {size: made(**arguments).random_bits(int(size)) for size in scores["samples"]}  # type: ignore[operator]
    return {size: number for size, number in bits.items() if number is not None}


def _last_line(folder: Path) -> str:
    lines = [line for line in (folder / "log.txt").read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else "it printed nothing"
