"""The subcommand `data`."""

import statistics
from time import perf_counter
from typing import Literal

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from benchmarks.models import MODEL_FILES, build_model
from lit_retrieval.data import BatchDataset
from lit_retrieval.errors import UserError
from lit_retrieval.tasks import (
    MQAR,
    AssociativeRecall,
    Counting,
    Index,
    IsTree,
    NGramRetrieval,
    Regime,
    SampleStream,
    StateTracking,
    StringCopying,
    Task,
)

_LENGTHS = (16, 64, 256)  # tokens between `<s>` and the question
_STEP_LENGTH = 64  # tokens in a training step: the smallest length for which every task has a problem
_CODE: Literal["random_access_code"] = "random_access_code"


def tasks() -> dict[str, Task]:
    """Every built-in task and distribution, at a size with problems of all lengths."""
    return {
        "AssociativeRecall": AssociativeRecall(num_keys=128, num_values=128),
        "AssociativeRecall, code": AssociativeRecall(num_keys=128, num_values=128, distribution=_CODE),
        "Counting": Counting(max_size=256),
        "Counting, code": Counting(max_size=256, distribution=_CODE),
        "Index": Index(max_size=256),
        "Index, code": Index(max_size=256, distribution=_CODE),
        "IsTree, binary": IsTree(max_size=128),
        "IsTree, random": IsTree(max_size=128, distribution="random"),
        "StateTracking, A_5": StateTracking("a5"),
        "MQAR, 16 pairs": MQAR(vocab_size=8192, num_kv_pairs=16),
        "NGramRetrieval": NGramRetrieval(max_size=256),
        "StringCopying": StringCopying(max_size=256),
    }


def data(batch: int = 64, rounds: int = 5, seconds: float = 0.2, steps: bool = True) -> None:
    """Time sample generation on one thread, alone and as a share of a training step.

    Samples are generated as for training: tokens written, searches answered, and converted to tensors. The training
    step is forward, backward and AdamW of mamba_0.5M on all threads, on problems of 64 tokens.

    Args:
        batch: Samples per batch.
        rounds: Measurements of each speed; the table shows their medians.
        seconds: Duration of each measurement.
        steps: Whether to time training steps too.
    """
    columns = [f"samples/s at {length} tokens" for length in _LENGTHS]
    table = Table("task", "regime", *columns, "share of a training step")
    slowest = float("inf")
    for name, task in tasks().items():
        for regime in task.regimes:
            speeds = {
                length: _samples_per_second(task, regime, length, batch, rounds, seconds)
                for length in _LENGTHS
                if _has(task, length)
            }
            share = _share_of_a_step(task, regime, batch, rounds, speeds[_STEP_LENGTH]) if steps else "-"
            shown = (f"{speeds[length]:,.0f}" if length in speeds else "-" for length in _LENGTHS)
            table.add_row(name, regime, *shown, share)
            slowest = min(slowest, speeds[_LENGTHS[-1]])
    table.caption = (
        f"medians of {rounds}; batches of {batch}; CPU, training step on {torch.get_num_threads()} threads; "
        f"slowest at {_LENGTHS[-1]} tokens: {slowest:,.0f} samples/s"
    )
    Console(width=120).print(table)


def _size(task: Task, length: int) -> int:
    """The size of problems with `length` tokens; an edge of IsTree has three tokens."""
    return length // 3 + 1 if isinstance(task, IsTree) else length


def _has(task: Task, length: int) -> bool:
    try:
        task.check_size(_size(task, length))
    except UserError:
        return False
    return True


def _stream(task: Task, regime: Regime, length: int) -> BatchDataset:
    return BatchDataset(SampleStream(task, regime, [_size(task, length)], seed=0, split="fit"))


def _samples_per_second(task: Task, regime: Regime, length: int, batch: int, rounds: int, seconds: float) -> float:
    stream = _stream(task, regime, length)
    stream[np.arange(batch)]  # compiles what has not been compiled yet
    speeds, first = [], 0
    for _ in range(rounds):
        start, began_at = perf_counter(), first
        while perf_counter() - start < seconds:
            stream[np.arange(first, first + batch)]
            first += batch
        speeds.append((first - began_at) / (perf_counter() - start))
    return statistics.median(speeds)


def _share_of_a_step(task: Task, regime: Regime, batch: int, rounds: int, samples_per_second: float) -> str:
    model = build_model(MODEL_FILES / "mamba_0.5M.yaml", len(task.vocabulary))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    samples = _stream(task, regime, _STEP_LENGTH)[np.arange(batch)]
    times = []
    for _ in range(rounds + 1):
        start = perf_counter()
        logits, _ = model(samples.tokens[:, :-1], positions=samples.positions)
        torch.autograd.backward(F.cross_entropy(logits, samples.targets))
        optimizer.step()
        optimizer.zero_grad()
        times.append(perf_counter() - start)
    return f"{batch / samples_per_second / statistics.median(times[1:]):.3%}"
