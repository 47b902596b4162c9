"""The subcommand `ops`."""

import platform
import statistics
from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops import linear_recurrence, linear_rnn, selective_scan
from lit_retrieval.ops.linear_recurrence import linear_recurrence_chunked, linear_recurrence_naive
from lit_retrieval.ops.linear_rnn import linear_rnn_naive
from lit_retrieval.ops.selective_scan import selective_scan_naive

_HEADS, _KEY_DIM, _VALUE_DIM, _STATE_DIM = 4, 16, 16, 16  # as in the 0.5M models


class _Case(NamedTuple):
    ours: Callable[..., tuple[Tensor, ...]]
    chunked: Callable[..., tuple[Tensor, ...]] | None
    naive: Callable[..., tuple[Tensor, ...]]
    tensors: dict[str, Tensor]
    sequences: tuple[str, ...]  # names of the tensors with a time dimension: those that must be moved


def ops(batch: int = 64, time: int = 128, dim: int = 128, rounds: int = 5) -> None:
    """Time each recurrence, forward and backward, against chunked and step-by-step versions in PyTorch.

    The last column compares with a lower limit: the time to copy the bytes that must be moved, as a share of our time.
    These are each input and output once in forward, and each of them and its gradient once in backward.

    Args:
        batch: Sequences per batch.
        time: Steps per sequence.
        dim: Channels of Mamba's scan and of the linear RNN; the matrix-valued recurrences have 4 heads of 16 keys and
            16 values.
        rounds: Number of measurements of each, after one that is not counted.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    table = Table("recurrence", "ms", "chunked", "step by step", "times as fast", "copy, share of ours")
    for name, case in _cases(batch, time, dim, device).items():
        ours, chunked, naive, copy = _time_in_turns(case, rounds)
        in_chunks = "" if chunked is None else f"{chunked:.1f}"
        table.add_row(name, f"{ours:.1f}", in_chunks, f"{naive:.1f}", f"{naive / ours:.1f}", f"{copy / ours:.1%}")
    place = torch.cuda.get_device_name() if device == "cuda" else f"CPU ({platform.machine()})"
    threads = torch.get_num_threads()
    table.caption = f"medians of {rounds}; batch {batch}, time {time}, dim {dim}; float32; {place}, threads: {threads}"
    Console(width=120).print(table)


def _cases(batch: int, time: int, dim: int, device: str) -> dict[str, _Case]:
    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, device=device)

    cases = {}
    for name in ("linear attention", "decay for a head", "decay for each key", "delta rule", "reads and writes apart"):
        q, k = (randn(batch, time, _HEADS, _KEY_DIM) for _ in range(2))
        tensors = {"q": q, "k": k, "v": randn(batch, time, _HEADS, _VALUE_DIM)}
        if name.startswith("decay") or name.startswith("reads"):
            per_head = 1 if name == "decay for a head" else _KEY_DIM
            tensors["log_decay"] = F.logsigmoid(randn(batch, time, _HEADS, per_head) + 2)
        if name.startswith(("delta", "reads")):
            tensors["write"] = F.normalize(randn(batch, time, _HEADS, _KEY_DIM), dim=-1)
            tensors["read"] = -0.5 * tensors["write"]
        functions = (linear_recurrence, linear_recurrence_chunked, linear_recurrence_naive)
        cases[name] = _Case(*functions, tensors, tuple(tensors))
    x, dt = randn(batch, time, dim), F.softplus(randn(batch, time, dim) - 3)
    B, C = (randn(batch, time, _STATE_DIM) for _ in range(2))
    scan = {"x": x, "dt": dt, "A": -torch.rand(dim, _STATE_DIM, device=device), "B": B, "C": C}
    cases["Mamba's scan"] = _Case(selective_scan, None, selective_scan_naive, scan, ("x", "dt", "B", "C"))
    for name, A in (("linear RNN", 0.5 * dim**-0.5 * randn(dim, dim)), ("diagonal linear RNN", 0.9 * torch.ones(dim))):
        rnn = {"u": randn(batch, time, dim), "A": A.to(device)}
        cases[name] = _Case(_as_tuple(linear_rnn), None, _as_tuple(linear_rnn_naive), rnn, ("u",))
    return cases


def _as_tuple(function: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, ...]]:
    return lambda **tensors: (function(**tensors),)


def _time_in_turns(case: _Case, rounds: int) -> tuple[float, float | None, float, float]:
    """Median milliseconds of ours, of chunks, of single steps and of the copy, timed alternately."""
    leaves = {name: tensor.requires_grad_() for name, tensor in case.tensors.items()}
    moved = sum(leaves[name].numel() for name in case.sequences)
    output = case.ours(**leaves)[0].numel()
    # Forward: the inputs and the outputs. Backward: the inputs, their gradients, and the outputs' gradients.
    source = torch.empty((3 * moved + 2 * output) // 2, device=next(iter(leaves.values())).device)

    def run(function: Callable[..., tuple[Tensor, ...]]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(function(**leaves)[0].sum(), list(leaves.values()), materialize_grads=True)

    target = torch.empty_like(source)  # written before it is timed, so that there are no page faults
    in_chunks = [] if case.chunked is None else [run(case.chunked)]
    jobs = [run(case.ours), run(case.naive), lambda: target.copy_(source), *in_chunks]
    times: list[list[float]] = [[] for _ in jobs]
    for _ in range(rounds + 1):
        for job, job_times in zip(jobs, times, strict=True):
            start = perf_counter()
            job()
            if source.is_cuda:
                torch.cuda.synchronize()
            job_times.append(1000 * (perf_counter() - start))
    ours, naive, copy, *chunked = (statistics.median(job_times[1:]) for job_times in times)
    return ours, chunked[0] if chunked else None, naive, copy
