"""Rotary positions in Numba, for float32 on a CPU: one pass over memory instead of PyTorch's three.

Each head's elements are SIMD vectors, see `ops/lanes.py`. In the result, each head's tokens are contiguous in memory,
as attention reads them.
"""

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from lit_retrieval.ops.arrays import run_kernel
from lit_retrieval.ops.lanes import WIDTH, add_scaled, load, multiply, pointer, store, swap_neighbors, widest
from lit_retrieval.ops.vector_exp import FAST_MATH


def rotate_cpu(x: Tensor, turns: Tensor, start: int) -> Tensor:
    """Rotate in Numba; arguments and result as in `rotate_naive`, and `WIDTH` divides `head_dim`."""
    if torch.is_grad_enabled() and x.requires_grad:
        y: Tensor = _Rotation.apply(x.contiguous(), turns, start)  # type: ignore[no-untyped-call]
    else:
        y = _rotate(x.contiguous(), turns, start)
    return y.transpose(1, 2)


class _Rotation(torch.autograd.Function):
    """The rotation with its gradient, which turns back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, turns: Tensor, start: int) -> Tensor:
        ctx.turns, ctx.start = turns, start
        return _rotate(x, turns, start)

    @staticmethod
    def backward(ctx: Any, *output_grads: Tensor) -> tuple[Tensor | None, ...]:
        batch, heads, time, head_dim = output_grads[0].shape
        x_grad = output_grads[0].new_empty(batch, time, heads, head_dim)
        run_kernel(_backward, widest(head_dim), ctx.start, ctx.turns, output_grads[0].contiguous(), x_grad)
        return x_grad, None, None


def _rotate(x: Tensor, turns: Tensor, start: int) -> Tensor:
    """From `(batch, time, heads, head_dim)` to `(batch, heads, time, head_dim)`."""
    batch, time, heads, head_dim = x.shape
    y = x.new_empty(batch, heads, time, head_dim)
    run_kernel(_forward, widest(head_dim), start, turns, x, y)
    return y


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _forward(width: Any, start: int, turns: Any, x: Any, y: Any) -> None:
    batch, time, heads, dim = x.shape
    for b in prange(batch):
        for head in range(heads):
            for t in range(time):
                token, row = ((b * time + t) * heads + head) * dim, ((b * heads + head) * time + t) * dim
                _turn(width, 1.0, turns, start + t, x, token, y, row)


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _backward(width: Any, start: int, turns: Any, y_grad: Any, x_grad: Any) -> None:
    batch, time, heads, dim = x_grad.shape
    for b in prange(batch):
        for head in range(heads):
            for t in range(time):
                token, row = ((b * time + t) * heads + head) * dim, ((b * heads + head) * time + t) * dim
                _turn(width, -1.0, turns, start + t, y_grad, row, x_grad, token)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _turn(
    width: Any, sign: float, turns: Any, position: int, source: Any, from_: int, target: Any, to: int
) -> None:  # fmt: skip
    """Rotate the vector of one head and token, forward or, with `sign` -1, back."""
    dim = turns.shape[2]
    cos = 2 * position * dim
    for d in range(0, dim, WIDTH * len(width)):
        x = load(width, pointer(source, from_), d)
        across = multiply(swap_neighbors(x), load(width, pointer(turns, cos + dim), d))
        turned = add_scaled(multiply(x, load(width, pointer(turns, cos), d)), np.float32(sign), across)
        store(pointer(target, to), d, turned)
