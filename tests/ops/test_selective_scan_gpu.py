"""The Triton scan: in Triton's interpreter against float64 steps, in its compiler, and on a GPU where one is."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from lit_retrieval.ops import selective_scan
from lit_retrieval.ops.selective_scan import selective_scan_naive

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="triton is for Linux only")
TOLERANCE = 1e-5  # float32 rounds to 6e-8; sums over some hundred steps lose about two digits of that
BFLOAT16_TOLERANCE = 1e-2  # bfloat16 rounds to 4e-3, and outputs and gradients are rounded to it


def interpret(times: Iterable[int]) -> dict[str, float]:
    program = Path(__file__).parents[1] / "scan_interpreted.py"
    ran = subprocess.run(
        [sys.executable, str(program), *map(str, times)], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "TRITON_INTERPRET": "1"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    distances: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return distances


# 9 steps are one beyond a chunk there: the smallest number that takes every path of both kernels.
@pytest.mark.parametrize("times", [(1, 9), pytest.param((1, 2, 7, 8, 15, 16, 50), marks=pytest.mark.slow)], ids=str)
def test_the_interpreted_kernels_agree_with_float64_steps(times):
    distances = interpret(times)
    assert {f"{times[-1]} steps, with a state", "1 steps, without a state", "two halves"} <= distances.keys()
    for check, distance in distances.items():
        assert distance <= (BFLOAT16_TOLERANCE if check == "bfloat16" else TOLERANCE), check


@pytest.mark.parametrize("dtype", ["*fp32", "*bf16"])
def test_the_kernels_compile_for_a_gpu_of_compute_capability_9(dtype):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from lit_retrieval.ops.selective_scan import gpu

    sizes = {"STATE_DIM": 16, "ROWS": 16, "CHUNK": gpu.CHUNK}
    forward = sizes | {"PART": gpu.FORWARD.steps, "BLOCK": gpu.FORWARD.channels, "KEEPS": True}
    backward = sizes | {"PART": gpu.BACKWARD.steps, "BLOCK": gpu.BACKWARD.channels}
    kernels = [
        (gpu._forward_kernel, forward, gpu.FORWARD.warps), (gpu._backward_kernel, backward, gpu.BACKWARD.warps),
        (gpu._forward_kernel, forward | {"PART": 1, "KEEPS": False}, gpu.FORWARD.warps),
    ]  # fmt: skip
    others = {"A", "state", "last_state", "checkpoints", "last_state_grad"}
    in_float32 = {*others, "parts", "A_grad", "B_grad", "C_grad", "state_grad"}
    for kernel, sizes, warps in kernels:
        signature = dict.fromkeys(kernel.arg_names, dtype) | dict.fromkeys(in_float32 & set(kernel.arg_names), "*fp32")
        signature |= {name: "i32" for name in ("batch", "time", "dim") if name in kernel.arg_names}
        signature |= dict.fromkeys(sizes, "constexpr")
        source = ASTSource(fn=kernel, signature=signature, constexprs=sizes)
        assert triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps}).asm["cubin"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("time", [1, 2, 63, 64, 100, 130])
def test_the_scan_on_a_gpu_agrees_with_float64_steps(time):
    generator = torch.Generator().manual_seed(time)
    x, dt = (torch.randn(3, time, 40, generator=generator) for _ in range(2))
    A, state = -16 * torch.rand(40, 16, generator=generator), torch.randn(3, 16, 40, generator=generator)
    B, C = (torch.randn(3, time, 16, generator=generator) for _ in range(2))
    results = []
    for scan, dtype in ((selective_scan, torch.float32), (selective_scan_naive, torch.float64)):
        tensors = [one.to("cuda", dtype).requires_grad_() for one in (x, 0.1 * dt.abs(), A, B, C, state)]
        y, last = scan(*tensors)
        results.append([y, last, *torch.autograd.grad(y.square().sum() + last.square().sum(), tensors)])
    for actual, wanted in zip(*results, strict=True):
        assert (actual - wanted).abs().max() <= 1e-4 * wanted.abs().max()
