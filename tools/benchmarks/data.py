"""The subcommand `data`."""

import statistics
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from benchmarks.models import MODEL_FILES, build_model
from lit_retrieval.data import BatchDataset, TranscriptData
from lit_retrieval.errors import UserError
from lit_retrieval.parsing import OneLineErrors
from lit_retrieval.tasks import Author, Regime, SampleStream, Task, describe
from lit_retrieval.tasks.random import Counts

_SUITES = Path(__file__).parents[2] / "data" / "evaluation"
_LENGTHS = (16, 64, 256)  # tokens of the user
_STEP_LENGTH = 64  # tokens of the user in a training step
_DRAWN = 4  # samples of each size whose lengths are measured
_AT_ONCE = 32  # sizes


def suites() -> Iterator[tuple[str, TranscriptData]]:
    """The frozen suites, by name."""
    parser = OneLineErrors()
    parser.add_class_arguments(TranscriptData, "data")
    for file in sorted(_SUITES.glob("*.yaml")):
        yield file.stem, parser.instantiate(parser.parse_args(["--data", str(file), "--data.suite", "null"])).data


def tasks() -> dict[str, Task]:
    """The different tasks of the suites, each by the name of its first suite."""
    found: dict[str, Task] = {}
    for name, suite in suites():
        if describe(suite.task) not in map(describe, found.values()):
            found[name] = suite.task
    return found


def data(batch: int = 64, rounds: int = 5, seconds: float = 0.2, steps: bool = True) -> None:
    """Time sample generation on one thread, alone and as a share of a training step, for the task of every suite.

    Samples are generated as for training: tokens are written, searches answered, and all converted to tensors. Each
    task is timed at sizes whose prompts have about 16, 64 and 256 tokens; `-` means that it has no such size. The
    training step is forward, backward and AdamW of mamba_0.5M on all threads, on problems of 64 tokens.

    Args:
        batch: Samples per batch.
        rounds: Number of measurements; the table shows their medians.
        seconds: Duration of each measurement.
        steps: Whether to time training steps too.
    """
    table = Table("task", "regime", *(f"at {length}" for length in _LENGTHS), "share of a step")
    slowest = float("inf")
    for name, task in tasks().items():
        sizes = _sizes(task)
        for regime in task.regimes:
            speeds = {
                length: _samples_per_second(_stream(task, regime, size), batch, rounds, seconds)
                for length, size in sizes.items()
            }
            share = "-"
            if steps and _STEP_LENGTH in sizes:
                step = _seconds_of_a_step(_stream(task, regime, sizes[_STEP_LENGTH]), batch, rounds)
                share = f"{batch / speeds[_STEP_LENGTH] / step:.3%}"
            shown = (f"{speeds[length]:,.0f}" if length in speeds else "-" for length in _LENGTHS)
            table.add_row(name, regime, *shown, share)
            slowest = min(slowest, speeds.get(_LENGTHS[-1], slowest))
    table.caption = (
        f"samples/s, by tokens of the prompt; medians of {rounds}; batches of {batch}; CPU, training step on "
        f"{torch.get_num_threads()} threads; "
        f"slowest at {_LENGTHS[-1]} tokens: {slowest:,.0f} samples/s"
    )
    Console(width=120).print(table)


def _sizes(task: Task) -> dict[int, int]:
    """For each length, the size whose problems come nearest to it; none if it is a quarter off."""
    sizes, lengths = np.empty(0, np.int64), np.empty(0)
    for first in range(1, 2 * _LENGTHS[-1], _AT_ONCE):
        more = np.fromiter(_sizes_from(task, first), np.int64)
        sizes, lengths = np.append(sizes, more), np.append(lengths, _tokens_of_user(task, more))
        if lengths.max(initial=0) > 2 * _LENGTHS[-1]:
            break
    nearest = {length: int(np.abs(lengths - length).argmin()) for length in _LENGTHS}
    return {length: int(sizes[at]) for length, at in nearest.items() if abs(lengths[at] - length) <= length / 4}


def _tokens_of_user(task: Task, sizes: Counts) -> npt.NDArray[np.float64]:
    """The mean number of tokens of the user in problems of each size, `(sizes,)`."""
    if not len(sizes):
        return np.empty(0)
    drawn = task.sample(0, np.arange(_DRAWN * len(sizes)), np.repeat(sizes, _DRAWN), task.regimes[0])
    is_users = (drawn.author == Author.PROMPT) | (drawn.author == Author.ASKED)
    means: npt.NDArray[np.float64] = is_users.sum(1).reshape(-1, _DRAWN).mean(1)
    return means


def _sizes_from(task: Task, first: int) -> Iterator[int]:
    for size in range(first, first + _AT_ONCE):
        try:
            task.check_size(size)
        except UserError:
            continue
        yield size


def _stream(task: Task, regime: Regime, size: int) -> BatchDataset:
    return BatchDataset(SampleStream(task, regime, [size], seed=0, split="fit"))


def _samples_per_second(stream: BatchDataset, batch: int, rounds: int, seconds: float) -> float:
    stream[np.arange(batch)]  # compiles what has not been compiled yet
    speeds, first = [], 0
    for _ in range(rounds):
        start, began_at = perf_counter(), first
        while perf_counter() - start < seconds:
            stream[np.arange(first, first + batch)]
            first += batch
        speeds.append((first - began_at) / (perf_counter() - start))
    return statistics.median(speeds)


def _seconds_of_a_step(stream: BatchDataset, batch: int, rounds: int) -> float:
    samples = stream[np.arange(batch)]
    model = build_model(MODEL_FILES / "mamba_0.5M.yaml", len(stream.samples.task.vocabulary))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    times = []
    for _ in range(rounds + 1):
        start = perf_counter()
        logits, _ = model(samples.tokens[:, :-1], positions=samples.positions)
        torch.autograd.backward(F.cross_entropy(logits, samples.targets))
        optimizer.step()
        optimizer.zero_grad()
        times.append(perf_counter() - start)
    return statistics.median(times[1:])
