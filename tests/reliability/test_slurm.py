"""A run under SLURM: the signal before its time limit saves it, and the job that is requeued resumes it."""

import shlex
import sys
from pathlib import Path

import pytest
from machines import INTERFACE, two_machines
from slurm import cluster

SLURM = Path(__file__).parents[2] / "configs/trainer/slurm.yaml"
STEPS = 100
LONG = ["--trainer.max_steps", str(STEPS), "--trainer.val_check_interval", "40", "--last_checkpoint.every_n_steps", "5"]
TWO = ["--trainer.strategy", "ddp", "--trainer.devices", "2"]
# The first start of a job takes longer than its time limit.
SLOW = """
import os, time
from lightning.pytorch import Callback

class Slow(Callback):
    def on_train_batch_end(self, trainer, *arguments):
        if "SLURM_JOB_ID" in os.environ and "SLURM_RESTART_COUNT" not in os.environ:
            time.sleep(2)
"""
# As in docs/howto/clusters.md, at the smallest size.
JOB = """#!/bin/bash
#SBATCH --nodes=2 --ntasks-per-node=1 --time=2 --signal=USR1@30 --requeue --output=log.txt --open-mode=append
srun {command}
[ $? -eq 75 ] && scontrol requeue $SLURM_JOB_ID
"""


@pytest.mark.slow
def test_a_job_on_two_machines_is_saved_before_its_time_limit_requeued_and_resumed(place, twin, tiny, assert_same_run):
    for one in (place, twin):
        (one.path / "slow.py").write_text(SLOW)
    run = [*LONG, "--trainer.callbacks", "[{class_path: slow.Slow}]"]
    nodes = ["--trainer", str(SLURM), "--trainer.devices", "1", "--run_dir", "run"]
    command = [sys.executable, "-m", "lit_retrieval", "fit", *tiny, *run, *nodes]
    (place.path / "job.sh").write_text(JOB.format(command=shlex.join(command)))
    with two_machines() as pair, cluster(place.path / "slurm", pair) as slurm:
        network = {"GLOO_SOCKET_IFNAME": INTERFACE, "MASTER_ADDR": pair[0].address}  # the nodes' names have none
        slurm.run("sbatch", "job.sh", folder=place.path, PYTHONPATH=place.environment["PYTHONPATH"], **network)
        slurm.wait(400)
    said = (place.path / "log.txt").read_text()
    assert f"waiting for the processes of 2 nodes at {pair[0].address}:" in said
    assert "stopped by SIGUSR1 after" in said and "resuming run after" in said and "Traceback" not in said, said
    twin.fit(*run, *TWO)
    assert_same_run(twin, place, STEPS)
