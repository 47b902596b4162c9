"""Check this project on a GPU in a few minutes: `python tools/gpu_check.py --out FOLDER`.

The phases run one after another, the most important first. Each is a separate process with a time limit, so a phase
that hangs or breaks the GPU's context costs only its own time. Rows are appended to FOLDER/results.jsonl at once.
`--reference FILE`, on a CPU, writes the losses and gradients that the phase `models` compares with.
"""

import argparse
import logging
import math
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
GRID = ROOT / "configs" / "sweeps" / "paper_row_16.yaml"
LIMITS = {
    "env": 45, "scan": 60, "graphs": 110, "models": 180, "fit": 60, "profile": 40, "train": 60, "decode": 45,
    "bits": 40, "bf16": 30, "ieee": 80, "blocks": 120, "rates": 75, "cells": 600,
}  # fmt: skip
TINY_LIMIT = 120  # seconds for any phase
LEAST = 8.0  # seconds; a phase is skipped if less time is left


class OneLineErrors(argparse.ArgumentParser):
    """The standard parser with one-line errors; it does not import this package before the environment is set."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with status 2."""
        self.exit(2, f"error: {message}\n")


def main() -> int:
    """Run the command line; returns the exit status, 1 if a phase has failed."""
    arguments = parse()
    # cuBLAS is deterministic with a workspace of this size; it reads the variable once.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([inherited] if inherited else [])])
    sys.path.insert(0, str(ROOT))
    if arguments.run or arguments.model or arguments.reference:
        run(arguments)
        return 0
    arguments.out.mkdir(parents=True, exist_ok=True)
    return run_all(arguments)


def parse() -> argparse.Namespace:
    parser = OneLineErrors(description="Check this project on a GPU, in phases with a time limit each.")
    parser.add_argument("--out", type=Path, default=Path("gpu_check"), help="folder of the results")
    usual = ",".join(name for name in LIMITS if name != "cells")
    parser.add_argument("--phases", type=read_phases, default=usual, help=f"in this order, of {', '.join(LIMITS)}")
    parser.add_argument("--budget", type=float, default=300, help="seconds for all phases together")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="smallest sizes, to test this program on a CPU")
    parser.add_argument("--reference", type=Path, help="write this file on a CPU, and check nothing")
    parser.add_argument("--grid", type=Path, default=GRID, help="grid file for the phase cells")
    parser.add_argument("--cells", default="cot vanilla retrieval", help="regimes for the phase cells, in their order")
    parser.add_argument("--slots", type=int, default=6, help="trials at a time in the phase cells")
    parser.add_argument("--models", nargs="+", default=[], help="those of the phase models; default: all")
    for name in ("run", "model"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    parser.add_argument("--deadline", type=float, default=math.inf, help=argparse.SUPPRESS)
    return parser.parse_args()


def read_phases(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in LIMITS]:
        raise argparse.ArgumentTypeError(f"must be of {', '.join(LIMITS)}, got {unknown[0]}")
    return names


def run(arguments: argparse.Namespace) -> None:
    """Run one phase, or one model of the phase `models`, in this process."""
    logging.disable(logging.WARNING)  # fla's advice about other packages
    warnings.simplefilter("ignore")
    from gpu_checks import cells, fit, graphs, machine, models, own, reference
    from gpu_checks.check import Check

    if arguments.reference:
        reference.write(arguments.reference)
        return
    phase = arguments.run or "models"
    check = Check(phase, arguments.out, arguments.device, arguments.tiny, arguments.deadline)
    if arguments.model:
        models.check_one(check, arguments.model)
        return
    sys.stdin.readline()  # imports above ran while the previous phase was running
    if phase == "cells":
        cells.cells(check, arguments.grid, arguments.cells.split(), arguments.slots)
    elif phase == "models":
        models.models(check, arguments.models)
    else:
        {**machine.PHASES, **graphs.PHASES, **models.PHASES, **fit.PHASES, **own.PHASES}[phase](check)


def run_all(arguments: argparse.Namespace) -> int:
    """Run the selected phases while there is time."""
    stop, has_failed = time.monotonic() + arguments.budget, False
    names = arguments.phases
    waiting: subprocess.Popen[str] | None = None
    with (arguments.out / "errors.txt").open("a") as errors:
        for name, following in zip(names, [*names[1:], None], strict=True):
            process = waiting or prepare(name, arguments, stop, errors.fileno())
            waiting = prepare(following, arguments, stop, errors.fileno()) if following else None
            left = min(limit(name, arguments), stop - time.monotonic())
            status, seconds = finish(process, left)
            print(f"{name}: {status} after {seconds:.1f} s", flush=True)
            has_failed |= status not in ("done", "skipped")
    print_errors(arguments.out / "errors.txt")
    return int(has_failed)


def limit(name: str, arguments: argparse.Namespace) -> float:
    """Seconds that a phase may take."""
    return TINY_LIMIT if arguments.tiny else LIMITS[name]


def prepare(name: str, arguments: argparse.Namespace, stop: float, errors: int) -> "subprocess.Popen[str]":
    """Start a phase's process, which imports its modules and then waits for the signal to begin."""
    command = [sys.executable, __file__, "--run", name, "--out", str(arguments.out), "--device", arguments.device]
    command += ["--tiny"] if arguments.tiny else []
    command += ["--cells", arguments.cells, "--slots", str(arguments.slots), "--grid", str(arguments.grid)]
    command += ["--models", *arguments.models] if arguments.models else []
    command += ["--deadline", str(min(stop, time.monotonic() + limit(name, arguments)))]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)


def finish(process: "subprocess.Popen[str]", seconds: float) -> tuple[str, float]:
    """Let a phase begin, and wait for its end; returns how it ended and the seconds that it took."""
    start = time.monotonic()
    if seconds < LEAST:
        kill(process)
        return "skipped", 0.0
    try:
        process.communicate("go\n", timeout=seconds)
        status = "done" if process.returncode == 0 else f"failed with status {process.returncode}"
    except subprocess.TimeoutExpired:
        kill(process)
        status = "stopped at its time limit"
    return status, time.monotonic() - start


def kill(process: "subprocess.Popen[str]") -> None:
    """End a phase and the processes that it has started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def print_errors(path: Path) -> None:
    """Print the last lines that the phases have written to stderr."""
    print("\n".join(path.read_text(errors="replace").splitlines()[-12:]))


if __name__ == "__main__":
    sys.exit(main())
