"""The Triton scan: in Triton's interpreter against float64 steps, in its compiler, and on a GPU where one is."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from sass import count_instructions

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


# Instructions of each kernel, and what it may have: a tenth more than it has with Triton 3.7.1. Forward, 8 steps of 16
# channels are one round of the loop, 775 instructions; a single step is all of the second kernel.
BUDGETS = {
    ("forward", "*fp32"): 1000, ("forward", "*bf16"): 1190,
    ("one step", "*fp32"): 250, ("one step", "*bf16"): 265,
    ("backward", "*fp32"): 1730, ("backward", "*bf16"): 1930,
}  # fmt: skip


@pytest.mark.parametrize(("kernel", "dtype"), BUDGETS)
def test_a_kernel_for_a_gpu_of_compute_capability_9_has_few_instructions_and_no_spills(kernel, dtype):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from lit_retrieval.ops.selective_scan import gpu

    sizes: dict[str, object] = {"STATE_DIM": 16, "ROWS": 16, "CHUNK": gpu.CHUNK}
    function, blocks = gpu._forward_kernel, gpu.FORWARD
    if kernel == "backward":
        function, blocks = gpu._backward_kernel, gpu.BACKWARD
    else:
        sizes["KEEPS"] = kernel == "forward"
    sizes |= {"PART": 1 if kernel == "one step" else blocks.steps, "BLOCK": blocks.channels}
    others = {"A", "state", "last_state", "checkpoints", "last_state_grad"}
    in_float32 = {*others, "parts", "A_grad", "B_grad", "C_grad", "state_grad"}
    names = function.arg_names
    signature = dict.fromkeys(names, dtype) | dict.fromkeys(in_float32 & set(names), "*fp32")
    signature |= {name: "i32" for name in ("batch", "time", "dim") if name in names}
    signature |= dict.fromkeys(sizes, "constexpr")
    # As in a run: pointers and the number of channels are multiples of 16.
    aligned = [place for place, name in enumerate(names) if name not in {"batch", "time", *sizes}]
    source = ASTSource(function, signature, sizes, {(place,): [["tt.divisibility", 16]] for place in aligned})
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": blocks.warps})
    found = count_instructions(compiled.asm["cubin"])
    assert not found["STL"] and not found["LDL"], "registers are spilled to memory"
    assert found.total() <= BUDGETS[kernel, dtype]


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
