"""Prints, as JSON, how far the Triton scan is from the naive one in float64, for each check by name.

Run with TRITON_INTERPRET=1 as `python scan_interpreted.py TIME ...`: Triton's interpreter then runs the kernels on
a CPU. Each number is the largest difference, divided by the largest number of the tensor where that is above 1.
"""

import json
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from lit_retrieval.ops.selective_scan import gpu, selective_scan_naive
from lit_retrieval.ops.selective_scan.gpu import selective_scan_gpu

BATCH, DIM, STATE_DIM = 2, 6, 3
# The interpreter is slow: few steps are several chunks, and DIM is one block and a part of another.
gpu.CHUNK, gpu.FORWARD, gpu.BACKWARD = 8, gpu.Blocks(4, 1, 4), gpu.Blocks(4, 1, 2)


def draw(time: int, with_state: bool, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(time)
    x, dt = (torch.randn(BATCH, time, DIM, generator=generator).to(dtype) for _ in range(2))
    A = -16 * torch.rand(DIM, STATE_DIM, generator=generator)
    B, C = (torch.randn(BATCH, time, STATE_DIM, generator=generator).to(dtype) for _ in range(2))
    state = torch.randn(BATCH, STATE_DIM, DIM, generator=generator)
    return [x, (0.1 * dt).abs(), A, B, C, state][: 6 if with_state else 5]


def run_with_gradients(scan: Callable[..., tuple[Tensor, Tensor]], tensors: list[Tensor]) -> dict[str, Tensor]:
    """Outputs, last state, and the gradients of a loss on both."""
    tensors = [tensor.clone().requires_grad_() for tensor in tensors]
    y, state = scan(*tensors)
    weighted = [
        one.double() * torch.linspace(-1, 2, one.numel(), dtype=torch.float64).view(one.shape) for one in (y, state)
    ]
    grads = torch.autograd.grad(weighted[0].sum() + weighted[1].sum(), tensors)
    names = ("x", "dt", "A", "B", "C", "state")
    return {"outputs": y, "last state": state, **dict(zip(names, grads, strict=False))}


def distance(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    return max(
        float((actual[name].double() - wanted).detach().abs().max() / max(1.0, float(wanted.detach().abs().max())))
        for name, wanted in expected.items()
    )


def compare(tensors: list[Tensor]) -> float:
    expected = run_with_gradients(selective_scan_naive, [tensor.double() for tensor in tensors])
    return distance(run_with_gradients(selective_scan_gpu, tensors), expected)


def halves() -> float:
    x, dt, A, B, C, state = draw(14, with_state=True)
    y, last = selective_scan_gpu(x, dt, A, B, C, state)
    y_1, middle = selective_scan_gpu(x[:, :9], dt[:, :9], A, B[:, :9], C[:, :9], state)
    y_2, last_of_halves = selective_scan_gpu(x[:, 9:], dt[:, 9:], A, B[:, 9:], C[:, 9:], middle)
    return distance({"y": torch.cat([y_1, y_2], 1), "state": last_of_halves}, {"y": y, "state": last})


def second_derivative() -> float:
    """0 if it is refused, else 1."""
    tensors = [tensor.requires_grad_() for tensor in draw(1, with_state=True)]
    try:
        torch.autograd.grad(selective_scan_gpu(*tensors)[0].square().sum(), tensors, create_graph=True)
    except RuntimeError:
        return 0.0
    return 1.0


def main() -> None:
    found = {}
    for time in map(int, sys.argv[1:]):
        for with_state in (False, True):
            found[f"{time} steps, {'with' if with_state else 'without'} a state"] = compare(draw(time, with_state))
    found["two halves"] = halves()
    found["bfloat16"] = compare(draw(5, with_state=True, dtype=torch.bfloat16))
    found["second derivative"] = second_derivative()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
