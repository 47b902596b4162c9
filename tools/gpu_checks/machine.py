"""The phases that measure the machine and the selective scan."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from gpu_checks.check import Check
from gpu_checks.ready import Problem
from lit_retrieval.ops.selective_scan import selective_scan, selective_scan_naive

_SCANNED = ("y", "last_state", "x", "dt", "A", "B", "C", "state")


def env(check: Check) -> None:
    """Report versions, memory bandwidth and float32 arithmetic; also compiles the data's kernels for all phases."""
    check.row(is_printed=False)
    if check.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        check.row(multiprocessors=properties.multi_processor_count, gib=properties.total_memory / 2**30)
    with check.attempt():
        check.row(
            matmul=torch.backends.cuda.matmul.fp32_precision,
            cudnn_rnn=torch.backends.cudnn.rnn.fp32_precision,  # type: ignore[attr-defined]
        )
    size = 2**12 if check.is_tiny else 2**30
    source = torch.empty(size, dtype=torch.uint8, device=check.device)
    target = torch.empty_like(source)
    ms, _ = check.milliseconds(lambda: target.copy_(source), 0.5)
    check.row(copy_tb_s=2 * size / ms / 1e9)
    side = 64 if check.is_tiny else 8192
    matrix = torch.randn(side, side, device=check.device)
    ms, _ = check.milliseconds(lambda: matrix @ matrix, 0.5)
    check.row(float32_tflop_s=2 * side**3 / ms / 1e9)
    start = time.perf_counter()
    Problem("mamba_0.5M", "cpu", 8, "retrieval", 2)
    check.row(first_batch_s=time.perf_counter() - start)


def scan(check: Check) -> None:
    """Compare the selective scan's values with float64, and its time with copying the same number of bytes."""
    for steps in (1, 2, 63) if check.is_tiny else (1, 8, 63, 65, 130, 613):
        with check.attempt(steps=steps):
            _compare_scan(check, steps)
    for rows, steps in ((2, 5),) if check.is_tiny else ((64, 47), (64, 613), (64, 5093), (256, 1)):
        with check.attempt(rows=rows, steps=steps):
            _time_scan(check, rows, steps)


def _compare_scan(check: Check, steps: int) -> None:
    generator = torch.Generator().manual_seed(steps)
    x, dt = (torch.randn(3, steps, 40, generator=generator) for _ in range(2))
    A, state = -16 * torch.rand(40, 16, generator=generator), torch.randn(3, 16, 40, generator=generator)
    B, C = (torch.randn(3, steps, 16, generator=generator) for _ in range(2))
    given = (x, 0.1 * dt.abs(), A, B, C, state)
    found = _scanned(selective_scan, [one.to(check.device) for one in given])
    wanted = _scanned(selective_scan_naive, [one.double() for one in given])
    off = [float((one.cpu() - other).norm() / other.norm()) for one, other in zip(found, wanted, strict=True)]
    check.row(steps=steps, worst=max(off), at=_SCANNED[off.index(max(off))])


def _scanned(run: Callable[..., tuple[Tensor, Tensor]], given: list[Tensor]) -> list[Tensor]:
    given = [one.requires_grad_() for one in given]
    y, last_state = run(*given)
    weights = torch.linspace(-1, 2, y.numel(), device=y.device, dtype=y.dtype).view(y.shape)
    total = (y * weights).sum() + last_state.square().sum()
    return [one.detach().double() for one in (y, last_state, *torch.autograd.grad(total, given))]


def _time_scan(check: Check, rows: int, steps: int) -> None:
    x, dt = (torch.rand(rows, steps, 128, device=check.device) for _ in range(2))
    B, C = (torch.randn(rows, steps, 16, device=check.device) for _ in range(2))
    given = [x, 0.1 * dt, -torch.rand(128, 16, device=check.device), B, C]
    given = [one.detach().requires_grad_() for one in given]
    with torch.no_grad():
        forward, _ = check.milliseconds(lambda: selective_scan(*given), 0.3)
    both, _ = check.milliseconds(lambda: torch.autograd.grad(selective_scan(*given)[0].sum(), given), 0.3)
    moved = rows * steps * 4 * (3 * 128 + 2 * 16)  # bytes: x, dt, y, B, C
    source = torch.empty(moved // 2, dtype=torch.uint8, device=check.device)  # a copy reads and writes
    target = torch.empty_like(source)
    copy, _ = check.milliseconds(lambda: target.copy_(source), 0.2)
    check.row(rows=rows, steps=steps, forward_ms=forward, both_ms=both, copy_ms=copy)


PHASES = {"env": env, "scan": scan}
