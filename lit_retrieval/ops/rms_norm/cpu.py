"""Root-mean-square normalization in Numba for float32 on a CPU, where PyTorch makes about ten passes over memory."""

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from lit_retrieval.ops.arrays import run_kernel
from lit_retrieval.ops.vector_exp import FAST_MATH

_ROWS = 64  # rows that one thread takes at a time; they share one partial sum of the weight's gradient
_ONE, _ZERO = np.float32(1.0), np.float32(0.0)


def rms_norm_cpu(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root-mean-square normalization in Numba; arguments and result as in `rms_norm`."""
    rows = x.reshape(-1, x.shape[-1]).contiguous()
    y: Tensor = _RMSNorm.apply(rows, weight, eps)  # type: ignore[no-untyped-call]
    return y.view(x.shape)


class _RMSNorm(torch.autograd.Function):
    """The normalization of `x (rows, dim)`, with gradients of `x` and `weight`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        y, scale = rms_norm_forward(x, weight, eps)
        ctx.save_for_backward(x, weight, scale)
        return y

    @staticmethod
    def backward(ctx: Any, *output_grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        return *rms_norm_backward(x, weight, scale, output_grads[0].contiguous()), None


def rms_norm_forward(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The normalized `x (rows, dim)`, and each row's 1 / sqrt(mean(x^2) + eps), `(rows,)`."""
    y, scale = torch.empty_like(x), x.new_empty(len(x))
    run_kernel(_forward, x, weight, eps, y, scale)
    return y, scale


def rms_norm_backward(x: Tensor, weight: Tensor, scale: Tensor, y_grad: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of `x (rows, dim)` and `weight`, from each row's 1 / sqrt(mean(x^2) + eps) in `scale (rows,)`."""
    x_grad, weight_grad = torch.empty_like(x), x.new_zeros(-(-len(x) // _ROWS), len(weight))
    run_kernel(_backward, x, weight, scale, y_grad, x_grad, weight_grad)
    return x_grad, weight_grad.sum(0)


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _forward(x: Any, weight: Any, eps: Any, y: Any, scale: Any) -> None:
    rows, dim = x.shape
    for block in prange((rows + _ROWS - 1) // _ROWS):
        for row in range(block * _ROWS, min((block + 1) * _ROWS, rows)):
            x_row, y_row = x[row], y[row]
            square = _ZERO
            for d in range(dim):
                square += x_row[d] * x_row[d]
            row_scale = _ONE / np.sqrt(square / np.float32(dim) + eps)
            for d in range(dim):
                y_row[d] = x_row[d] * row_scale * weight[d]
            scale[row] = row_scale


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _backward(x: Any, weight: Any, scale: Any, y_grad: Any, x_grad: Any, weight_grad: Any) -> None:
    rows, dim = x.shape
    for block in prange((rows + _ROWS - 1) // _ROWS):
        block_grad = weight_grad[block]
        for row in range(block * _ROWS, min((block + 1) * _ROWS, rows)):
            x_row, y_grad_row, x_grad_row, row_scale = x[row], y_grad[row], x_grad[row], scale[row]
            product = _ZERO
            for d in range(dim):
                product += y_grad_row[d] * weight[d] * x_row[d]
                block_grad[d] += y_grad_row[d] * x_row[d] * row_scale
            shrink = product * row_scale * row_scale / np.float32(dim)
            for d in range(dim):
                x_grad_row[d] = row_scale * (y_grad_row[d] * weight[d] - x_row[d] * shrink)
