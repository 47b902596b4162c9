"""The phases that check every ready model against a CPU."""

import fcntl
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from gpu_checks import reference
from gpu_checks.check import Check
from gpu_checks.ready import NAMES, REFERENCE, Problem
from lit_retrieval.training.gpu_setup import set_float32

PROGRAM = Path(__file__).parents[1] / "gpu_check.py"
# Those that have not been compared without TF32 (docs/gpu.md).
IEEE = ("gated_deltanet_0.5M", "simple_gla_0.5M", "kda_0.5M", "rwkv7_0.5M")
STEPS, TIMED = 50, 30


def models(check: Check) -> None:
    """Check all models, each in a process of its own, all at a time: compiling fla's kernels takes one core each."""
    _in_processes(check, ("mamba_0.5M",) if check.is_tiny else NAMES)


def ieee(check: Check) -> None:
    """Check models whose kernels multiply in TF32 unless they are told otherwise, as a run tells them."""
    _in_processes(check, ("gru_0.5M",) if check.is_tiny else IEEE)


def _in_processes(check: Check, names: Sequence[str]) -> None:
    busy, processes = Path(tempfile.mkdtemp()) / "busy", []
    for name in names:
        with busy.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)  # the child holds it on, and waits for all others before it is timed
            command = [sys.executable, str(PROGRAM), "--run", check.phase, "--model", name, "--out", str(check.out)]
            command += ["--device", check.device, "--lock", str(lock.fileno()), *(["--tiny"] * check.is_tiny)]
            processes.append(subprocess.Popen(command, pass_fds=[lock.fileno()]))
    for process in processes:
        process.wait()


def check_one(check: Check, name: str, lock: int) -> None:
    """Compare a model's first step with the reference, train it on one batch, and time a step when all are trained.

    Args:
        check: The phase.
        name: The model.
        lock: A descriptor of a file that all models have a shared lock on.
    """
    if check.device == "cuda":
        set_float32("ieee")
    with check.attempt(name=name):
        if (wanted := reference.read(REFERENCE, name)) is None:
            check.row(name=name, note="its loss is not finite on a CPU")
            return
        difference = reference.compare(reference.first_step(name, check.device), wanted)
        check.row(
            name=name, loss_off=difference.loss, gradient_off=difference.gradient, at=difference.parameter,
            f32="ieee",
        )  # fmt: skip
        if check.phase == "models":
            _train(check, name, lock)


def _train(check: Check, name: str, lock: int) -> None:
    problem = Problem(name, check.device, 8, "retrieval", 4 if check.is_tiny else 64)
    losses = torch.stack([problem.step() for _ in range(3 if check.is_tiny else STEPS)]).tolist()
    check.row(name=name, steps=len(losses), first=losses[0], last=losses[-1], time=problem.time)
    fcntl.flock(lock, fcntl.LOCK_EX)
    ms, _ = check.milliseconds(problem.step, 1.0, TIMED)
    check.row(name=name, ms_a_step=ms, time=problem.time)


PHASES = {"models": models, "ieee": ieee}
