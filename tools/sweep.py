"""Run a grid of trainings and tests: `python tools/sweep.py configs/sweeps/smoke.yaml`.

Each trial runs `python -m lit_retrieval fit` and `test` in its own folder, named by the hash of its configuration.
After any interruption start the same command again: finished trials are skipped, and the others resume.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from sweeps import files
from sweeps.folder import alone, check_commits, check_tests, rename
from sweeps.grid import Grid, Trial, read_grid, trials
from sweeps.live import described, label, table, watching
from sweeps.runners import check_slots, run_here, run_on_ray, run_on_slurm

from lit_retrieval.cli.endings import ending
from lit_retrieval.errors import RunEndedError
from lit_retrieval.parsing import OneLineErrors, one_line_errors

Runner = Callable[[Sequence[Trial], Grid, Path, str], None]


def main() -> None:
    """Run the sweep that the command line names; exit with status 1 if a trial has failed."""
    parser = OneLineErrors(description="Run a grid of trainings and tests; finished trials are skipped.")
    parser.add_argument("grid", type=Path, help="grid file, such as those in configs/sweeps")
    parser.add_argument("-o", "--output", type=Path, help="folder of the sweep; if absent, sweeps/NAME of the grid")
    parser.add_argument(
        "--on", choices=["ray", "here", "slurm"], default="ray" if find_spec("ray") else "here",
        help="ray: as many trials at a time as fit, the default where Ray is installed; here: as processes of this "
        "machine; slurm: as a job array, by submitit",
    )  # fmt: skip
    parser.add_argument("--slots", type=int, help="trials at a time with --on here, sharing the GPU; 1 if absent")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="WORD", help="words that choose trials by their description, such as "
        "a regime or a point; trials of the first word run first",
    )  # fmt: skip
    parser.add_argument("--any_commit", action="store_true", help="resume trials that another commit started")
    parser.add_argument("--list", action="store_true", help="show the trials without running them")
    arguments = parser.parse_args()
    runners: dict[str, Runner] = {
        "ray": run_on_ray, "here": partial(run_here, slots=arguments.slots or 1), "slurm": run_on_slurm,
    }  # fmt: skip
    runner = None if arguments.list else runners[arguments.on]
    sys.path.insert(0, str(Path.cwd()))  # a class may be in a file there, as for `python -m`
    with one_line_errors():
        check_slots(arguments.slots, arguments.on)
        try:
            has_failed = sweep(arguments.grid, arguments.output, runner, arguments.any_commit, arguments.only)
        except (RunEndedError, OSError) as error:
            if (known := ending(error)) is None:
                raise
            line, status = known
            print(line, file=sys.stderr)
            sys.exit(status)
    sys.exit(has_failed)


def sweep(path: Path, output: Path | None, runner: Runner | None, any_commit: bool, only: Sequence[str]) -> bool:
    """Run the unfinished trials of a grid; without a runner, list all. Returns whether a trial has failed."""
    grid, folder = read_grid(path), (output or Path("sweeps") / path.stem).absolute()
    found, commit = trials(grid, path.parent), files.commit()
    chosen = described(found, only)
    if runner is None:
        Console().print(table(chosen, folder))
        return False
    if not any_commit:
        check_commits(chosen, folder, commit)
    check_tests(chosen, folder)
    with alone(folder):
        waiting = [trial for trial in chosen if not (files.trial_folder(folder, trial.hash) / "result.json").exists()]
        counted = f"{len(chosen)} trial{'' if len(chosen) == 1 else 's'}"
        print(f"{counted}, {len(chosen) - len(waiting)} of them finished; all in {folder}")
        if others := {one.parent.name for one in folder.glob("trials/*/result.json")} - {one.hash for one in found}:
            print(f"finished trials in {folder} that are not of this grid, with rows in results.csv too: {len(others)}")
        rename(found, folder)
        with watching(chosen, folder):
            if waiting:
                runner(waiting, grid, folder, commit)
    Console().print(table(chosen, folder))
    return _report_failed(chosen, folder)


def _report_failed(chosen: Sequence[Trial], folder: Path) -> bool:
    """Print a reason for each trial without a result; returns whether there is such a trial."""
    failed = [trial for trial in chosen if not (files.trial_folder(folder, trial.hash) / "result.json").exists()]
    for trial in failed:
        notes = files.read(files.trial_folder(folder, trial.hash) / "trial.json") or {}
        reason = notes.get("reason", "it was interrupted; start the sweep again")
        print(f"failed: {trial.hash} ({label(trial)}): {reason}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    main()
