"""The subcommands `decode` and `commits`."""

import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.replay import Problem
from lit_retrieval.decoding import Conversations, begin, generate
from lit_retrieval.retrieval import ShortFormRetriever
from lit_retrieval.tasks import Regime
from lit_retrieval.vocabulary import PAD

_TOOLS = Path(__file__).parents[1]


def decode(
    model: str = "mamba_0.5M", regime: Regime = "cot", size: int = 16, batch: int = 256, rounds: int = 3
) -> None:
    """Time closed-loop decoding against reading the whole prefix again for every token.

    Both write the true transcripts of IsTree on binary graphs, so the times do not depend on what a model has learned.
    Ours keeps its state and removes finished rows. The baseline reads all rows from the start for each new token, until
    the last row has finished. The two are timed alternately.

    Args:
        model: Name of a file in configs/model, without its extension.
        regime: Regime of the transcripts.
        size: Vertices of the graphs.
        batch: Rows decoded together.
        rounds: Timed runs of each.
    """
    problem = Problem(model, regime, size, batch)
    transcripts = problem.transcripts
    times: dict[str, list[float]] = {"cached": [], "prefix read again": []}
    for _ in range(rounds + 1):
        runs: tuple[Callable[..., object], ...] = (generate, _read_again)
        for name, run in zip(times, runs, strict=True):
            turns = [transcripts.turns(row) for row in range(batch)]
            rows = begin(turns, problem.task, ShortFormRetriever(), problem.max_new_tokens)
            start = perf_counter()
            run(problem.model, rows)
            times[name].append(perf_counter() - start)
            assert rows.replies().answers.tolist() == transcripts.answers.tolist()
    medians = {name: statistics.median(seconds[1:]) for name, seconds in times.items()}
    table = Table("decoding", "seconds", "tokens/s", "times as fast", title=f"{model}, IsTree {regime}, n = {size}")
    for name, seconds in medians.items():
        ratio = medians["prefix read again"] / seconds
        table.add_row(name, f"{seconds:.2f}", f"{problem.num_words / seconds:,.0f}", f"{ratio:.1f}")
    table.caption = f"medians of {rounds}; {batch} rows; CPU, {torch.get_num_threads()} threads"
    Console().print(table)


@torch.inference_mode()
def _read_again(model: Callable[..., Any], conversations: Conversations) -> None:
    """Decode without a state."""
    nothing = np.full(len(conversations), PAD)
    taken = [conversations.step(nothing) for _ in range(int(conversations.num_certain.min()))]
    while not conversations.is_finished.all():
        tokens = torch.from_numpy(np.stack(taken, 1))
        last = torch.arange(1, len(tokens) + 1) * tokens.shape[1] - 1
        taken.append(conversations.step(model(tokens, None, last)[0].argmax(-1).numpy()))


def commits(
    checkout: Path,
    models: list[str] = ["none", "mamba_0.5M", "transformer_0.5M"],  # noqa: B006 (shown in --help; nothing changes it)
    sizes: list[int] = [16, 32, 128],  # noqa: B006
    regime: Regime = "retrieval",
    batch: int = 256,
    rounds: int = 3,
    threads: int = 1,
) -> None:
    """Time closed-loop decoding of this commit against another commit, alternately, in separate processes.

    Both write the true transcripts of IsTree on binary graphs, as in `decode`. Processor time is measured, so that
    other programs matter less.

    Args:
        checkout: A folder with the other commit, such as one made by `git worktree add`.
        models: Names of files in configs/model, without extension. `none` is a model without work, which leaves only
            the time of turns, searches and answers.
        sizes: Vertices of the graphs.
        regime: Regime of the transcripts.
        batch: Rows decoded together.
        rounds: Timed runs of each.
        threads: Threads of PyTorch.
    """
    table = Table("model", "vertices", "tokens", "tokens/s, other", "tokens/s, this", "times as fast")
    for model in models:
        for size in sizes:
            others, ours = _time_in_turns(checkout, [model, regime, size, batch, threads], rounds)
            words = Problem("none", regime, size, batch).num_words
            speeds = [f"{words / seconds:,.0f}" for seconds in (others, ours)]
            table.add_row(model, str(size), f"{words:,}", *speeds, f"{others / ours:.2f}")
    table.caption = f"medians of {rounds}; IsTree {regime}; {batch} rows; processor time, {threads} threads"
    Console().print(table)


def _time_in_turns(checkout: Path, arguments: list[object], rounds: int) -> list[float]:
    """The median seconds of the other commit and of this one."""
    times: list[list[float]] = [[], []]
    sides = [_start(folder, arguments) for folder in (checkout, _TOOLS.parent)]
    for _ in range(rounds):
        for seconds, side in zip(times, sides, strict=True):
            assert side.stdin is not None and side.stdout is not None
            side.stdin.write("\n")
            side.stdin.flush()
            seconds.append(float(side.stdout.readline()))
    for side in sides:
        side.communicate()
    return [statistics.median(seconds) for seconds in times]


def _start(folder: Path, arguments: list[object]) -> subprocess.Popen[str]:
    """A process that decodes with the package in a folder."""
    command = [sys.executable, "-m", "benchmarks.replay", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(folder.resolve())}
    return subprocess.Popen(
        command, cwd=_TOOLS, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
