"""A product with a SiLU gate in Numba, for float32 on a CPU: one pass over memory forward and one backward."""

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from lit_retrieval.ops.arrays import run_kernel
from lit_retrieval.ops.vector_exp import FAST_MATH, vector_exp

_BLOCK = 4096  # elements that one thread takes at a time; arrays of a block fit into a core's second-level cache
_ONE = np.float32(1.0)


def silu_gate_cpu(x: Tensor, gate: Tensor) -> Tensor:
    """Compute x * silu(gate) in Numba; arguments and result as in `silu_gate`."""
    y: Tensor = _SiLUGate.apply(x.contiguous(), gate.contiguous())  # type: ignore[no-untyped-call]
    return y


class _SiLUGate(torch.autograd.Function):
    """The product with gradients for both factors."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor) -> Tensor:
        y = torch.empty_like(x)
        run_kernel(_forward, x.view(-1), gate.view(-1), y.view(-1))
        ctx.save_for_backward(x, gate)
        return y

    @staticmethod
    def backward(ctx: Any, *output_grads: Tensor) -> tuple[Tensor, Tensor]:
        x, gate = ctx.saved_tensors
        return silu_gate_backward(x, gate, output_grads[0].contiguous())


def silu_gate_backward(x: Tensor, gate: Tensor, y_grad: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of both factors; all tensors are contiguous."""
    x_grad, gate_grad = torch.empty_like(x), torch.empty_like(gate)
    run_kernel(_backward, *(tensor.view(-1) for tensor in (x, gate, y_grad, x_grad, gate_grad)))
    return x_grad, gate_grad


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _forward(x: Any, gate: Any, y: Any) -> None:
    for block in prange((len(x) + _BLOCK - 1) // _BLOCK):
        start, stop = block * _BLOCK, min((block + 1) * _BLOCK, len(x))
        # Slices, so that the inner index starts at 0: Numba checks other indices for negative ones, element by element.
        x_block, gate_block, y_block = x[start:stop], gate[start:stop], y[start:stop]
        for i in range(stop - start):
            y_block[i] = x_block[i] * gate_block[i] / (_ONE + vector_exp(-gate_block[i]))


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _backward(x: Any, gate: Any, y_grad: Any, x_grad: Any, gate_grad: Any) -> None:
    for block in prange((len(x) + _BLOCK - 1) // _BLOCK):
        start, stop = block * _BLOCK, min((block + 1) * _BLOCK, len(x))
        x_block, gate_block, y_grad_block = x[start:stop], gate[start:stop], y_grad[start:stop]
        x_grad_block, gate_grad_block = x_grad[start:stop], gate_grad[start:stop]
        for i in range(stop - start):
            sigmoid = _ONE / (_ONE + vector_exp(-gate_block[i]))
            silu = gate_block[i] * sigmoid
            x_grad_block[i] = y_grad_block[i] * silu
            gate_grad_block[i] = y_grad_block[i] * x_block[i] * (sigmoid + silu * (_ONE - sigmoid))
