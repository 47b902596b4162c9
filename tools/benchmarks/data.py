"""The subcommand `data`."""

import statistics
from time import perf_counter

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from benchmarks.models import MODEL_FILES, build_model
from lit_retrieval.data import Batch, TranscriptStream
from lit_retrieval.tasks import REGIMES, AssociativeRecall, Author, IsTree, Regime, SampleStream, Task

_STEP_SIZE = 16  # problems of a training step: the smallest of the paper's, where writing them weighs most


def data(batch: int = 64, rounds: int = 5, seconds: float = 0.3) -> None:
    """Time how fast samples are written, on one thread, and what share of a training step that is.

    A sample is what the training loop takes: words written, searches answered, and turned into tensors. The training
    step is forward, backward and AdamW of mamba_0.5M on all threads, on problems of size 16.

    Args:
        batch: Samples written at a time.
        rounds: Measurements of each speed; the table shows their medians.
        seconds: How long each measurement lasts.
    """
    sizes = (16, 64, 128)
    table = Table("task", "regime", *(f"samples/s at n = {size}" for size in sizes), "share of a training step")
    tasks: dict[str, Task] = {
        "IsTree, binary": IsTree(max_size=128),
        "IsTree, random": IsTree(max_size=128, distribution="random"),
        "AssociativeRecall": AssociativeRecall(num_keys=128, num_values=128),
    }
    for name, task in tasks.items():
        for regime in REGIMES:
            speeds = {size: _samples_per_second(task, regime, size, batch, rounds, seconds) for size in sizes}
            share = batch / speeds[_STEP_SIZE] / _seconds_of_a_step(task, regime, batch, rounds)
            table.add_row(name, regime, *(f"{speed:,.0f}" for speed in speeds.values()), f"{share:.3%}")
    table.caption = f"medians of {rounds}; batches of {batch}; CPU, training step on {torch.get_num_threads()} threads"
    Console(width=120).print(table)


def _samples_per_second(task: Task, regime: Regime, size: int, batch: int, rounds: int, seconds: float) -> float:
    stream = TranscriptStream(SampleStream(task, regime, [size], seed=0, split="fit"))
    stream[np.arange(batch)]  # compiles what has not been compiled yet
    speeds, first = [], 0
    for _ in range(rounds):
        start, began_at = perf_counter(), first
        while perf_counter() - start < seconds:
            stream[np.arange(first, first + batch)]
            first += batch
        speeds.append((first - began_at) / (perf_counter() - start))
    return statistics.median(speeds)


def _seconds_of_a_step(task: Task, regime: Regime, batch: int, rounds: int) -> float:
    model = build_model(MODEL_FILES / "mamba_0.5M.yaml", len(task.vocabulary))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    samples: Batch = TranscriptStream(SampleStream(task, regime, [_STEP_SIZE], seed=0, split="fit"))[np.arange(batch)]
    is_model = samples.author[:, 1:] == Author.MODEL
    times = []
    for _ in range(rounds + 1):
        start = perf_counter()
        logits, _ = model(samples.tokens[:, :-1])
        F.cross_entropy(logits[is_model], samples.tokens[:, 1:][is_model]).backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(perf_counter() - start)
    return statistics.median(times[1:])
