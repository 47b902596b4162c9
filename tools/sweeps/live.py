"""Shows the progress of a sweep as a live table."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Column, Table

from lit_retrieval.errors import UserError
from lit_retrieval.runs import RunFolder
from sweeps import files
from sweeps.grid import Trial
from sweeps.ledger import write_ledger

_EVERY = 2.0  # seconds
_SHOWN = 30


@contextmanager
def watching(trials: Sequence[Trial], sweep: Path) -> Iterator[None]:
    """A block that shows the running trials, and writes the ledger whenever one has finished.

    The states are read from the trials' folders, wherever they run. If the output is not a terminal, each change is
    printed as a line.
    """
    console, over = Console(), threading.Event()
    watcher = threading.Thread(target=_watch, args=(trials, sweep, console, over), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        write_ledger(sweep)


def _watch(trials: Sequence[Trial], sweep: Path, console: Console, over: threading.Event) -> None:
    told: dict[str, str] = {}
    finished = -1
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            is_last = over.is_set()
            known = {trial.hash: _status(trial, sweep) for trial in trials}
            if (count := Counter(known.values())["finished"]) != finished:
                finished = count
                with suppress(OSError):  # such as a full disk: the last call of `watching` raises it
                    write_ledger(sweep)
            if console.is_terminal:
                live.update(table(trials, sweep), refresh=True)
            else:
                news = {name: status for name, status in known.items() if told.get(name, "waiting") != status}
                for trial in trials:
                    if trial.hash in news:
                        console.print(f"{trial.hash} {label(trial)}: {news[trial.hash]}", soft_wrap=True)
                told = known
            if is_last:
                return
            over.wait(_EVERY)


def table(trials: Sequence[Trial], sweep: Path) -> Table:
    """The trials and their states, running ones first, waiting ones last; at least 60 columns wide."""
    shown = Table("trial", Column("what", ratio=1), "status", "minutes", "steps", "accuracy", box=None)
    shown.padding, shown.expand = (0, 1, 0, 0), True  # a space between two columns
    order = ("running", "failed", "finished", "waiting")
    by_status = sorted(trials, key=lambda trial: order.index(_status(trial, sweep)))
    for trial in by_status[:_SHOWN]:
        folder, status = files.trial_folder(sweep, trial.hash), _status(trial, sweep)
        notes, result = files.read(folder / "trial.json") or {}, files.read(folder / "result.json")
        accuracy = f"{result['scores']['closed_loop_accuracy']:.4f}" if result else ""
        starts = notes.get("attempts", 1)
        shown.add_row(
            trial.hash, label(trial), f"{status}, start {starts}" if starts > 1 else status,
            f"{notes['minutes']:.1f}" if notes else "", _steps(folder), accuracy,
        )  # fmt: skip
    counts = Counter(_status(trial, sweep) for trial in trials)
    hidden = f"; {len(trials) - _SHOWN} are not shown" if len(trials) > _SHOWN else ""
    shown.caption = ", ".join(f"{counts[status]} {status}" for status in order if counts[status]) + hidden
    return shown


def label(trial: Trial) -> str:
    """A short description of a trial."""
    data = trial.configuration["data"]
    return " ".join(f"{trial.point} {trial.level} {data['regime']} {data['sizes']} seed {trial.seed}".split())


def described(chosen: Sequence[Trial], words: Sequence[str]) -> Sequence[Trial]:
    """The trials described by one of these words, in the order of the words; all trials without words."""
    found = {word: [one for one in chosen if word in (*label(one).split()[:-1], *one.words)] for word in words}
    if missing := [word for word in words if not found[word]]:
        raise UserError(f"--only must name words that describe trials, got {missing[0]}; --list shows the trials")
    chosen = [trial for word in words for trial in found[word]] if words else chosen
    return list({trial.hash: trial for trial in chosen}.values())


def _status(trial: Trial, sweep: Path) -> str:
    folder = files.trial_folder(sweep, trial.hash)
    if (folder / "result.json").exists():
        return "finished"
    return str((files.read(folder / "trial.json") or {}).get("status", "waiting"))


def _steps(folder: Path) -> str:
    newest = RunFolder(folder / "run").step_files()
    return newest[0].stem.removeprefix("step_") if newest else ""
