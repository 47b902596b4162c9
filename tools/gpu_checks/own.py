"""The phases about our own models: bits, profile, training, decoding and precisions."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from lightning.fabric.plugins.precision import MixedPrecision
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from gpu_checks.check import Check
from gpu_checks.ready import OWN, Length, Problem
from lit_retrieval.decoding import DecodableModel, ModelGraphs, Replies, decode
from lit_retrieval.retrieval import EitherFormRetriever
from lit_retrieval.tasks import Regime

_LENGTHS: list[Length] = [(16, "vanilla"), (16, "retrieval"), (64, "retrieval"), (128, "retrieval")]
_TINY: list[Length] = [(4, "vanilla")]


def bits(check: Check) -> None:
    """Report whether gradients are bit-identical every time, with and without deterministic algorithms."""
    for name, (size, regime) in _cases(check, 2):
        for deterministic in (False, True):
            with check.attempt(name=name, regime=regime, deterministic=deterministic):
                torch.use_deterministic_algorithms(deterministic)
                problem = Problem(name, check.device, size, regime, _rows(check))
                first, *others = [_joined(problem.gradients()) for _ in range(4)]
                same = all(torch.equal(first, other) for other in others)
                check.row(name=name, time=problem.time, deterministic=deterministic, same=same)
    torch.use_deterministic_algorithms(False)


def profiles(check: Check) -> None:
    """Profile one training step: time to launch it, time until it is done, number of kernels, and their time."""
    for name, (size, regime) in _cases(check, 2):
        with check.attempt(name=name, regime=regime):
            problem = Problem(name, check.device, size, regime, _rows(check))
            host, wall = _host_and_wall(check, problem, 1 if check.is_tiny else 10)
            kernels = _kernels(check, problem)
            busy = sum(ms for _, ms in kernels)
            check.row(name=name, time=problem.time, host_ms=host, wall_ms=wall, kernels=len(kernels), busy_ms=busy)
            for kernel, count, ms in _longest(kernels):
                check.row(is_printed=False, name=name, time=problem.time, kernel=kernel, count=count, ms=ms)


def _host_and_wall(check: Check, problem: Problem, steps: int) -> tuple[float, float]:
    for _ in range(3):
        problem.step()
    check.wait()
    start = time.perf_counter()
    for _ in range(steps):
        problem.step()
    launched = time.perf_counter() - start
    check.wait()
    return 1000 * launched / steps, 1000 * (time.perf_counter() - start) / steps


def _kernels(check: Check, problem: Problem) -> list[tuple[str, float]]:
    """The kernels of one step with the milliseconds of each."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if check.device == "cuda" else [])]
    with profile(activities=activities) as profiled:
        problem.step()
        check.wait()
    events: Any = profiled.events()
    on_gpu = [one for one in events if str(one.device_type).endswith("CUDA")]
    kernels = [one for one in on_gpu if not getattr(one, "is_user_annotation", False)]
    return [(one.name, one.device_time / 1000) for one in kernels]


def _longest(kernels: list[tuple[str, float]], most: int = 12) -> list[tuple[str, int, float]]:
    counts, times = Counter(name for name, _ in kernels), dict.fromkeys((name for name, _ in kernels), 0.0)
    for name, ms in kernels:
        times[name] += ms
    longest = sorted(times, key=lambda name: -times[name])[:most]
    return [(name[:80], counts[name], times[name]) for name in longest]


def train(check: Check) -> None:
    """Measure milliseconds of a step and peak memory, from short rows to the paper's longest."""
    for name, (size, regime) in _cases(check, len(_LENGTHS)):
        with check.attempt(name=name, size=size, regime=regime):
            _train(check, name, size, regime)


def _train(check: Check, name: str, size: int, regime: Regime) -> None:
    if check.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    problem = Problem(name, check.device, size, regime, _rows(check))
    ms, steps = check.milliseconds(problem.step, 1.5)
    peak = torch.cuda.max_memory_allocated() / 2**30 if check.device == "cuda" else 0.0
    check.row(name=name, time=problem.time, ms=ms, steps=steps, peak_gib=peak)


def decoding(check: Check) -> None:
    """Measure milliseconds per token when many rows are decoded together, and whether graphs write the same tokens."""
    rows, most = (4, 5) if check.is_tiny else (256, 250)
    for name in OWN:
        with check.attempt(name=name):
            problem = Problem(name, check.device, 4 if check.is_tiny else 16, "retrieval", rows, "test")
            model = problem.model.eval()
            wanted, ms = _decode(check, model, problem, most)
            check.row(name=name, way="plain", rows=rows, ms_a_token=ms)
            graphs = ModelGraphs(model, None if check.device == "cuda" else lambda run: run)
            _decode(check, graphs, problem, most)  # records them
            found, ms = _decode(check, graphs, problem, most)
            check.row(name=name, way="graphs", rows=rows, ms_a_token=ms, same=_share_of_same(found, wanted))


def _decode(check: Check, model: DecodableModel, problem: Problem, most: int) -> tuple[Replies, float]:
    """The replies, and the milliseconds of a token."""
    given = model, problem.batch.transcripts(), problem.task, EitherFormRetriever()
    decode(*given, 2, torch.device(check.device))
    start = time.perf_counter()
    replies = decode(*given, most, torch.device(check.device))
    ms = 1000 * (time.perf_counter() - start)
    return replies, ms / (max(len(reply.tokens) for reply in replies) - int(problem.batch.prompt_length.min()))


def _share_of_same(found: Replies, wanted: Replies) -> float:
    return sum(one == other for one, other in zip(found, wanted, strict=True)) / len(wanted)


def precisions(check: Check) -> None:
    """Time forward and backward in lower precisions, and compare the loss with float32."""
    names = ("transformer_0.5M",) if check.is_tiny else (*OWN, "window_0.5M")
    for name in names:
        problem = Problem(name, check.device, 4 if check.is_tiny else 8, "retrieval", 4 if check.is_tiny else 16)
        exact = float(problem.loss().detach())
        for precision in ("bf16-mixed", "16-mixed", "bf16-true"):
            with check.attempt(name=name, precision=precision):
                loss, norm = _in_precision(problem, precision, check.device)
                check.row(name=name, precision=precision, loss_off=abs(loss / exact - 1), gradient_norm=norm)


def _in_precision(problem: Problem, precision: str, device: str) -> tuple[float, float]:
    problem.model.zero_grad()
    if precision == "bf16-true":
        problem.model.to(torch.bfloat16)
        loss = problem.loss()
    else:
        scaler = None if precision == "bf16-mixed" else torch.amp.GradScaler(device)
        with MixedPrecision(precision, device, scaler).forward_context():  # type: ignore[arg-type]
            loss = problem.loss()
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = [one.grad for one in problem.model.parameters() if one.grad is not None]
    return float(loss.detach()), float(torch.stack([gradient.float().norm() for gradient in gradients]).norm())


def _cases(check: Check, lengths: int) -> Iterator[tuple[str, Length]]:
    """Our models with the `lengths` shortest lengths of rows, shortest first."""
    if check.is_tiny:
        yield from ((OWN[0], length) for length in _TINY)
    else:
        yield from ((name, length) for length in _LENGTHS[:lengths] for name in OWN)


def _rows(check: Check) -> int:
    return 4 if check.is_tiny else 64


def _joined(gradients: dict[str, Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients.values()])


PHASES = {"bits": bits, "profile": profiles, "train": train, "decode": decoding, "bf16": precisions}
