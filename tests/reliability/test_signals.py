"""Whoever asks a run to stop, and whichever of its processes, finds it saved and may start it again."""

import contextlib
import os
import random
import re
import signal
import sys
import time
from functools import cache
from pathlib import Path

import pytest
from warm import children

STEPS = 100
LONG = [
    "--trainer.max_steps", str(STEPS), "--trainer.val_check_interval", "40", "--trainer.accumulate_grad_batches", "2",
    "--last_checkpoint.every_n_steps", "5",
]  # fmt: skip
TRAINERS = Path(__file__).parents[2] / "configs/trainer"
TWO = ["--trainer", str(TRAINERS / "ddp.yaml"), "--trainer.devices", "2"]
BY_TORCHRUN = ["--trainer", str(TRAINERS / "torchrun.yaml"), "--trainer.devices", "2"]
BY_SLURM = ["--trainer", str(TRAINERS / "slurm.yaml"), "--trainer.devices", "2", "--trainer.num_nodes", "1"]
WATCH = """
from pathlib import Path
from lightning.pytorch import Callback

class Watch(Callback):
    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if batch_idx == 3:
            Path("validating").touch()
"""
TORCHRUN = (sys.executable, "-m", "lit_retrieval.torchrun", "--standalone", "--nproc_per_node", "2")
PREEMPTED = 75


def stop(place, process, step, targets, number=signal.SIGTERM):
    """Send a signal once the run has passed a step; returns what it printed on standard error, its status in `said`."""
    while max(place.steps(), default=-1) < step:
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.02)
    for pid in targets(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    began = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - began < 30
    return said


TARGETS = {
    "one process": ([], lambda process: [process.pid]),
    "rank 0": (TWO, lambda process: [process.pid]),
    "rank 1": (TWO, lambda process: children(process)[:1]),
    "all ranks": (TWO, lambda process: [process.pid, *children(process)]),
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, make_place):
    """The same run, left alone, on a number of ranks."""

    @cache
    def run(ranks):
        place = make_place(tmp_path_factory.mktemp(f"ranks_{ranks}"))
        place.fit(*LONG, *(TWO if ranks == 2 else []))
        return place

    return run


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("target", "times"),
    [("all ranks", 1), *(pytest.param(target, 5, marks=slow) for target in TARGETS)],
)
def test_sigterm_saves_the_run_and_says_so(place, uninterrupted, tiny, assert_same_run, target, times):
    options, targets = TARGETS[target]
    chance = random.Random(times)
    for number in range(times):
        process = place.start("fit", *tiny, *LONG, *options, "--run_dir", "run")
        said = stop(place, process, int((number + chance.random()) * STEPS / (times + 1)), targets)
        assert process.returncode == PREEMPTED, said[-3000:]
        (line,) = [line for line in said.splitlines() if line.startswith("stopped by SIGTERM")]
        assert int(re.search(r"after (\d+) steps", line)[1]) == place.steps()[0]
        assert "Traceback" not in said
    place.fit(*LONG, *options)
    assert_same_run(uninterrupted(2 if options else 1), place, STEPS)


@pytest.mark.parametrize("times", [pytest.param(5, marks=slow)])
def test_sigterm_to_torchrun_saves_the_run(place, uninterrupted, tiny, assert_same_run, times):
    """torchrun passes the signal on; our own entry to it has the status of its workers."""
    chance = random.Random(times)
    for number in range(times):
        process = place.start("fit", *tiny, *LONG, *BY_TORCHRUN, "--run_dir", "run", launcher=TORCHRUN)
        step = int((number + chance.random()) * STEPS / (times + 1))
        said = stop(place, process, step, lambda process: [process.pid])
        assert process.returncode == PREEMPTED, said[-3000:]
        assert "stopped by SIGTERM" in said and "Traceback" not in said, said[-3000:]
    place.fit(*LONG, *TWO)
    assert_same_run(uninterrupted(2), place, STEPS)


@slow
def test_ctrl_c_to_torchrun_saves_too(place, tiny):
    process = place.start("fit", *tiny, *LONG, *BY_TORCHRUN, "--run_dir", "run", launcher=TORCHRUN)
    said = stop(place, process, 20, lambda process: [process.pid], signal.SIGINT)
    assert process.returncode == 130 and "stopped by SIGINT" in said, said[-3000:]


@slow
def test_torchrun_ends_with_the_status_of_its_workers(place, tiny):
    alone = (*TORCHRUN[:-1], "1")
    process = place.start(
        "fit", *tiny, *BY_TORCHRUN, "--trainer.devices", "1", "--data.batch_size", "0", launcher=alone
    )
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2 and "batch_size" in said, said[-3000:]


@slow
def test_the_signal_before_slurms_time_limit_saves_the_run(place, uninterrupted, tiny, assert_same_run):
    """Two processes as srun starts them, and SIGUSR1 to both, as `#SBATCH --signal=USR1@60` sends it."""
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1"}
    place.environment |= job | {"SLURM_NODELIST": "127.0.0.1", "SLURM_NODEID": "0", "SLURM_JOB_NAME": "train"}
    processes = []
    for rank in ("0", "1"):
        place.environment |= {"SLURM_PROCID": rank, "SLURM_LOCALID": rank}
        processes.append(place.start("fit", *tiny, *LONG, *BY_SLURM, "--run_dir", "run"))
    both = [process.pid for process in processes]
    said = stop(place, processes[0], 60, lambda process: both, signal.SIGUSR1)
    processes[1].communicate(timeout=30)
    assert [process.returncode for process in processes] == [PREEMPTED, PREEMPTED], said[-3000:]
    for name in (*job, "SLURM_NODELIST", "SLURM_NODEID", "SLURM_JOB_NAME", "SLURM_PROCID", "SLURM_LOCALID"):
        del place.environment[name]
    place.fit(*LONG, *TWO)
    assert_same_run(uninterrupted(2), place, STEPS)


@slow
def test_a_signal_in_a_validation_ends_it_and_it_is_done_again(place, twin, tiny, assert_same_run):
    """SLURM signals all processes of a job, the workers of the loaders too."""
    watched = ["--trainer.callbacks", "[{class_path: watch.Watch}]"]
    long = ["--trainer.max_steps", "4", "--trainer.val_check_interval", "2", "--data.num_workers", "1", *watched]
    slow = ["--data.val_samples", "1000", "--data.eval_batch_size", "4"]
    for one in (place, twin):
        (one.path / "watch.py").write_text(WATCH)
    process = place.start("fit", *tiny, *long, *slow, "--run_dir", "run")
    while not (place.path / "validating").exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == PREEMPTED and "after 2 steps and saved in" in said, said
    assert place.steps()[0] == 2
    place.fit(*long, *slow)
    twin.fit(*long, *slow)
    assert_same_run(twin, place, 4)


@slow
def test_ctrl_c_saves_too(place, tiny):
    process = place.start("fit", *tiny, *LONG, "--run_dir", "run")
    said = stop(place, process, 20, lambda process: [process.pid], signal.SIGINT)
    assert process.returncode == 130 and "stopped by SIGINT" in said
