"""The phases that check every ready model against a CPU."""

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from gpu_checks import reference
from gpu_checks.check import Check
from gpu_checks.ready import NAMES, REFERENCE, Problem

PROGRAM = Path(__file__).parents[1] / "gpu_check.py"
# Models that have not been compared without TF32 (docs/gpu.md).
IEEE = ("gated_deltanet_0.5M", "simple_gla_0.5M", "kda_0.5M", "rwkv7_0.5M")
STEPS = 50


def models(check: Check, names: Sequence[str] = ()) -> None:
    """Check these models, or all, in separate processes, as many at once as there are cores."""
    _in_processes(check, names or (("mamba_0.5M",) if check.is_tiny else NAMES))


def ieee(check: Check) -> None:
    """Check, with the settings of a run, models whose kernels use TF32 by default."""
    _in_processes(check, ("gru_0.5M",) if check.is_tiny else IEEE)


def _in_processes(check: Check, names: Sequence[str]) -> None:
    command = [sys.executable, str(PROGRAM), "--run", check.phase, "--out", str(check.out), "--device", check.device]
    command += ["--tiny"] * check.is_tiny
    # Compiling fla's kernels takes one core each, and training up to 5 GiB of the GPU.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda name: subprocess.run([*command, "--model", name]), names))


def check_one(check: Check, name: str) -> None:
    """Compare a model's first step with the reference, and train it on one batch."""
    with check.attempt(name=name):
        if (wanted := reference.read(REFERENCE, name)) is None:
            check.row(name=name, note="its loss is not finite on a CPU")
            return
        difference = reference.compare(reference.first_step(name, check.device), wanted)
        check.row(
            name=name, loss_off=difference.loss, gradient_off=difference.gradient, at=difference.parameter,
            precision="ieee",
        )  # fmt: skip
        if check.phase == "models":
            _train(check, name)


def _train(check: Check, name: str) -> None:
    problem = Problem(name, check.device, 8, "retrieval", 4 if check.is_tiny else 64)
    losses = torch.stack([problem.step() for _ in range(3 if check.is_tiny else STEPS)]).tolist()
    check.row(name=name, steps=len(losses), first=losses[0], last=losses[-1], time=problem.time)


PHASES = {"models": models, "ieee": ieee}
