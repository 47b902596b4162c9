"""Whoever asks a run to stop, and whichever of its processes, finds it saved and may start it again."""

import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

STEPS = 200
LONG = [
    "--trainer.max_steps", str(STEPS), "--trainer.val_check_interval", "50", "--trainer.accumulate_grad_batches", "2",
    "--last_checkpoint.every_n_steps", "5",
]  # fmt: skip
TWO = ["--trainer.strategy", "ddp", "--trainer.devices", "2"]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
PREEMPTED = 75


def children(process):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
    return [int(pid) for pid in listed.stdout.split()]


def stop(place, process, step, targets, number=signal.SIGTERM):
    """Send a signal once the run has passed a step; returns what it printed on standard error, its status in `said`."""
    while max(place.steps(), default=-1) < step:
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.02)
    for pid in targets(process):
        subprocess.run(["kill", f"-{number.name.removeprefix('SIG')}", str(pid)], check=False)
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
    """The same runs, left alone: one for each number of ranks."""
    places = {}
    for ranks, options in ((1, []), (2, TWO)):
        places[ranks] = make_place(tmp_path_factory.mktemp(f"ranks_{ranks}"))
        places[ranks].fit(*LONG, *options)
    return places


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("target", TARGETS)
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
    assert_same_run(uninterrupted[2 if options else 1], place, STEPS)


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_sigterm_to_torchrun_saves_the_run(place, uninterrupted, tiny, assert_same_run, times):
    """torchrun passes the signal on and exits with a status of its own; its workers exit with 75."""
    chance = random.Random(times)
    for number in range(times):
        process = place.start("fit", *tiny, *LONG, *TWO, "--run_dir", "run", launcher=TORCHRUN)
        step = int((number + chance.random()) * STEPS / (times + 1))
        said = stop(place, process, step, lambda process: [process.pid])
        assert process.returncode != 0
        assert "stopped by SIGTERM" in said, said[-3000:]
    place.fit(*LONG, *TWO)
    assert_same_run(uninterrupted[2], place, STEPS)


def test_a_signal_in_a_validation_ends_it_and_it_is_done_again(place, twin, tiny, assert_same_run):
    """SLURM signals all processes of a job, the workers of the loaders too."""
    long = ["--trainer.max_steps", "4", "--trainer.val_check_interval", "2", "--data.num_workers", "1"]
    slow = ["--data.val_samples", "1500", "--data.eval_batch_size", "4"]
    process = place.start("fit", *tiny, *long, *slow, "--run_dir", "run")
    while not list(place.path.glob("run/events*")):
        assert process.poll() is None
    time.sleep(4)  # two steps take less, a validation far more
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == PREEMPTED and "after 2 steps and saved in" in said, said
    assert place.steps() == [2]
    place.fit(*long, *slow)
    twin.fit(*long, *slow)
    assert_same_run(twin, place, 4)


def test_ctrl_c_saves_too(place, tiny):
    process = place.start("fit", *tiny, *LONG, "--run_dir", "run")
    said = stop(place, process, 20, lambda process: [process.pid], signal.SIGINT)
    assert process.returncode == 130 and "stopped by SIGINT" in said
