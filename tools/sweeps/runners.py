"""Runs trials as local processes, on Ray, or as SLURM jobs."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from math import ceil
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Any

import torch

from lit_retrieval.errors import PREEMPTED, RunEndedError, UserError
from lit_retrieval.ranges import check_at_least
from lit_retrieval.training.preemption import SIGNALS
from sweeps import files
from sweeps.grid import Grid, Trial
from sweeps.trial import run_trial

_TIME_LIMITS = 10_000  # most times that a job is requeued
_UNANSWERED = 20  # failed calls of squeue in a row before giving up
_ASK_EVERY = 30.0  # seconds between two calls of squeue
_LOOK_EVERY = 1.0  # seconds; Python handles no signal that comes just before the main thread waits without a limit


def check_slots(slots: int | None, runner: str) -> None:
    """Raise `UserError` for a number of slots that the runner `--on` does not use."""
    if slots is not None:
        check_at_least("slots", slots, 1, "--slots")
        if runner != "here":
            raise UserError(f"--slots is for --on here, and trials run on {runner}; leave it out, or add --on here")


def run_here(trials: Sequence[Trial], grid: Grid, sweep: Path, commit: str, slots: int = 1) -> None:
    """Run `slots` trials at once, in order; after a signal, raises `RunEndedError` when all are saved.

    With several GPUs, each slot gets one of them, in turn, except for trials that need several.
    """
    free: SimpleQueue[dict[str, str]] = SimpleQueue()
    for place in _places(slots):
        free.put(place)

    def run(trial: Trial) -> None:
        place = free.get()
        try:
            given = place if trial.gpus <= 1 else {}
            run_trial(trial, sweep, commit, grid.retries, grid.cpus, stopping, given)
        finally:
            free.put(place)

    with _stopping() as stopping, ThreadPoolExecutor(slots) as pool:
        jobs = [pool.submit(run, trial) for trial in trials]
        while wait(jobs, _LOOK_EVERY).not_done:
            if any(job.done() and isinstance(job.exception(), OSError) for job in jobs):
                stopping.set()  # an error such as a full disk, not in a trial; the others save themselves
        for job in jobs:
            job.result()
    if stopping.is_set():
        raise RunEndedError(
            f"stopped by a signal; the trials are saved in {sweep}, and the same command resumes them", PREEMPTED
        )


def _places(slots: int) -> list[dict[str, str]]:
    """The environment of each slot's commands: its GPU, if this machine has several."""
    count = torch.cuda.device_count()
    if count < 2:
        return [{}] * slots
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(number) for number in range(count)]
    return [{"CUDA_VISIBLE_DEVICES": names[slot % count]} for slot in range(slots)]


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """An event that is set by the first signal; a second signal has its usual effect."""
    event = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        event.set()
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_on_ray(trials: Sequence[Trial], grid: Grid, sweep: Path, commit: str) -> None:
    """Run as many trials at once as fit, on this machine or on the cluster at RAY_ADDRESS.

    A trial is a process that writes its own checkpoints, so Ray only schedules it. If Ray loses a worker or a node, it
    starts the trial again.
    """
    try:
        import ray
        from ray import tune
    except ImportError:
        raise UserError("Ray is not installed; pip install 'lit_retrieval[sweep]', or use --on here") from None
    os.environ |= {"RAY_CHDIR_TO_TRIAL_DIR": "0", "RAY_AIR_NEW_OUTPUT": "0"}  # the table is ours
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    of_place = partial(_run_one, list(trials), sweep, commit, grid.retries, grid.cpus)
    has_gpus = bool(ray.cluster_resources().get("GPU"))

    def resources(config: dict[str, int]) -> Any:
        return tune.PlacementGroupFactory([{"CPU": grid.cpus, "GPU": trials[config["place"]].gpus * has_gpus}])

    try:
        tune.Tuner(
            tune.with_resources(of_place, resources),
            param_space={"place": tune.grid_search(list(range(len(trials))))},
            run_config=tune.RunConfig(
                name="ray", storage_path=str(sweep), verbose=0, failure_config=tune.FailureConfig(max_failures=2)
            ),
        ).fit()
    finally:
        ray.shutdown()


def _run_one(
    trials: list[Trial], sweep: Path, commit: str, retries: int, cpus: int, config: dict[str, int]
) -> dict[str, int]:
    run_trial(trials[config["place"]], sweep, commit, retries, cpus)
    return config


def run_on_slurm(trials: Sequence[Trial], grid: Grid, sweep: Path, commit: str) -> None:
    """Submit a job for each trial, in one array per number of GPUs, and wait; without SLURM, submitit runs them here.

    Before its time limit a job gets SIGUSR1, saves its trial, and is requeued by submitit. If SLURM still has a trial's
    job from an earlier start, no new job is submitted.
    """
    os.environ.setdefault("SUBMITIT_PREEMPT_SIGNAL", "USR1")  # read on import; `fit` gets the signal too
    try:
        import submitit
    except ImportError:
        raise UserError("submitit is not installed; pip install 'lit_retrieval[sweep]'") from None
    tools = str(Path(__file__).parents[1])  # jobs inherit the environment, and must find these modules
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [tools, os.environ.get("PYTHONPATH")]))
    executor = submitit.AutoExecutor(sweep / "slurm", slurm_max_num_timeout=_TIME_LIMITS)
    is_slurm = executor.cluster == "slurm"
    queued = _queued(trials, sweep) if is_slurm else []
    if queued:
        print(f"not submitted again, as SLURM still has their jobs: {' '.join(one.hash for one in queued)}", flush=True)
    has_gpus, jobs = torch.cuda.is_available() or is_slurm, []
    trials = [trial for trial in trials if trial not in queued]
    for number in sorted({ceil(trial.gpus) for trial in trials}):
        own = [trial for trial in trials if ceil(trial.gpus) == number]
        gpus = {"gpus_per_node": number} if number and has_gpus else {}
        executor.update_parameters(**{"cpus_per_task": grid.cpus, "timeout_min": 24 * 60, **gpus, **grid.slurm})
        try:
            with executor.batch():
                new = [executor.submit(_Job(), trial, sweep, commit, grid.retries, grid.cpus) for trial in own]
        except submitit.core.utils.FailedJobError as error:
            said = str(error).strip().splitlines()[-1]
            raise UserError(
                f"SLURM takes no jobs: {said}; start on a machine of the cluster, or with --on here"
            ) from error
        for trial, job in zip(own, new, strict=True):
            files.write({"id": str(job.job_id)}, files.trial_folder(sweep, trial.hash) / "job.json")
        jobs += new
    for job in jobs:
        job.wait()
    failures = 0
    while queued:
        time.sleep(_ASK_EVERY)
        try:
            queued, failures = _queued(queued, sweep), 0
        except UserError:  # a busy scheduler may fail to answer
            failures += 1
            if failures > _UNANSWERED:
                raise


def _queued(trials: Sequence[Trial], sweep: Path) -> list[Trial]:
    """The trials whose jobs SLURM still has: they wait, run, or were requeued after a time limit."""
    notes = [files.read(files.trial_folder(sweep, trial.hash) / "job.json") for trial in trials]
    if not any(notes):
        return []
    asked = subprocess.run(["squeue", "--noheader", "--array", "--format=%i"], capture_output=True, text=True)
    if asked.returncode:
        said = (asked.stderr.strip() or "nothing").splitlines()[-1]
        raise UserError(f"squeue must say which jobs SLURM has, got {said}; start again on a machine of the cluster")
    listed = asked.stdout.split()
    return [trial for trial, note in zip(trials, notes, strict=True) if note and note["id"] in listed]


class _Job:
    """Runs `run_trial` so that submitit can stop it before a time limit, and requeue it."""

    def __call__(self, *arguments: Any) -> None:
        """Run or resume a trial in a thread, because submitit calls `checkpoint` in the main thread."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=run_trial, args=(*arguments, self._stopping))
        self._thread.start()
        while self._thread.is_alive():
            self._thread.join(_LOOK_EVERY)

    def checkpoint(self, *arguments: Any) -> Any:
        """Let the trial save itself; returns the callable for the requeued job."""
        from submitit.helpers import DelayedSubmission

        self._stopping.set()
        self._thread.join()
        return DelayedSubmission(_Job(), *arguments)
