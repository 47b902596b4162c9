"""A run that is killed anywhere, and started again, ends as if nothing had happened."""

import random
import signal
import sys
import time

import pytest

LONG = [
    "--trainer.accumulate_grad_batches", "2", "--trainer.val_check_interval", "50",
    "--last_checkpoint.every_n_steps", "10",
]  # fmt: skip


def kill_after(place, tiny, steps, step, delay):
    """Start the run, and kill it some time after the checkpoint of `step`; returns False if it was done before."""
    process = place.start("fit", *tiny, *LONG, "--trainer.max_steps", str(steps), "--run_dir", "run")
    while process.poll() is None:
        if max(place.steps(), default=-1) >= step:
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            return process.returncode == -signal.SIGKILL
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(("kills", "steps"), [(1, 60), pytest.param(20, 1200, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_at_random_is_the_uninterrupted_run(place, twin, tiny, assert_same_run, kills, steps):
    chance, run = random.Random(kills), [*LONG, "--trainer.max_steps", str(steps)]
    twin.fit(*run)
    for number in range(kills):
        step = int(steps * (number + 0.8 * chance.random()) / (kills + 1))
        assert kill_after(place, tiny, steps, step, chance.uniform(0, 0.2))
    # After many kills an interpreter of its own: no hash seed in common with the processes before.
    launcher = {"launcher": (sys.executable,)} if kills > 1 else {}
    assert place.fit(*run, **launcher).count("resuming run after ") == 1
    assert_same_run(twin, place, steps)
    assert f"run is finished after {steps:,} steps" in place.fit(*run)
