"""The phase that runs the real command: the loop of training, validation and checkpoints on a GPU."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sweeps.curve import read_curve

from gpu_checks.check import Check
from gpu_checks.ready import OWN

CONFIGS = Path(__file__).parents[2] / "configs"
_SIZES = {
    False: {"batch": 64, "vertices": 16, "samples": 512, "steps": 400},
    True: {"batch": 4, "vertices": 4, "samples": 4, "steps": 2},
}


def fit(check: Check) -> None:
    """Fit our models at the same time, for some steps and two validations, on chains of thought at 16 vertices."""
    folder = Path(tempfile.mkdtemp())
    logs = {name: (folder / f"{name}.txt").open("wb") for name in (OWN[:1] if check.is_tiny else OWN)}
    processes = {
        name: subprocess.Popen(_command(name, folder / name, check), stdout=log, stderr=log)
        for name, log in logs.items()
    }
    for name, process in processes.items():
        with check.attempt(name=name):
            status = process.wait()
            if status:
                lines = (folder / f"{name}.txt").read_text(errors="replace").split("\n")
                raise RuntimeError(f"status {status}: {' '.join(lines[-3:])}")
            curve = read_curve(folder / name)
            check.row(
                name=name, at_a_time=len(processes), steps=curve.steps[-1], val_loss=curve.loss[-1],
                val_accuracy=curve.accuracy[-1], samples_per_second=curve.samples_per_second,
            )  # fmt: skip


def _command(name: str, run: Path, check: Check) -> list[str]:
    size = _SIZES[check.is_tiny]
    keys: dict[str, Any] = {
        "config": CONFIGS / "experiments" / "istree.yaml", "model": CONFIGS / "model" / f"{name}.yaml",
        "data.regime": "cot", "data.sizes": [size["vertices"]], "data.task.init_args.max_size": size["vertices"],
        "data.batch_size": size["batch"], "data.val_samples": size["samples"], "data.eval_batch_size": 512,
        "trainer.max_steps": size["steps"], "trainer.val_check_interval": size["steps"] // 2,
        "trainer.log_every_n_steps": size["steps"] // 2 if check.is_tiny else 50, "trainer.devices": 1,
        "trainer.accelerator": "gpu" if check.device == "cuda" else "cpu", "trainer.enable_progress_bar": "false",
        "run_dir": run,
    }  # fmt: skip
    arguments = [text for key, value in keys.items() for text in (f"--{key}", str(value))]
    return [sys.executable, "-m", "lit_retrieval", "fit", *arguments]


PHASES = {"fit": fit}
