"""A linear recurrence of vectors with a decay for each element and step, in Numba, for float32 on a CPU."""

from typing import Any

import torch
from numba import njit, prange
from torch import Tensor

from lit_retrieval.ops.arrays import run_kernel
from lit_retrieval.ops.vector_exp import FAST_MATH


def linear_rnn_cpu(u: Tensor, A: Tensor, state: Tensor | None = None) -> Tensor:
    """The recurrence in Numba for A `(batch, time, dim)`; arguments and result as in `linear_rnn`."""
    state = torch.zeros_like(u[:, 0]) if state is None else state
    h: Tensor = _LinearRNN.apply(u.contiguous(), A.contiguous(), state.contiguous())  # type: ignore[no-untyped-call]
    return h


class _LinearRNN(torch.autograd.Function):
    """The recurrence with gradients for all its inputs."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, A: Tensor, state: Tensor) -> Tensor:
        h = torch.empty_like(u)
        run_kernel(_forward, u, A, state, h)
        ctx.save_for_backward(A, state, h)
        return h

    @staticmethod
    def backward(ctx: Any, *output_grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        A, state, h = ctx.saved_tensors
        grads = torch.empty_like(h), torch.empty_like(A), torch.empty_like(state)
        run_kernel(_backward, A, state, h, output_grads[0].contiguous(), *grads)
        return grads


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _forward(u: Any, A: Any, state: Any, h: Any) -> None:
    batch, time, dim = u.shape
    for b in prange(batch):
        for d in range(dim):
            h[b, 0, d] = A[b, 0, d] * state[b, d] + u[b, 0, d]
        for t in range(1, time):
            for d in range(dim):
                h[b, t, d] = A[b, t, d] * h[b, t - 1, d] + u[b, t, d]


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _backward(A: Any, state: Any, h: Any, h_grad: Any, u_grad: Any, A_grad: Any, state_grad: Any) -> None:
    batch, time, dim = h.shape
    for b in prange(batch):
        for d in range(dim):
            u_grad[b, time - 1, d] = h_grad[b, time - 1, d]
        for t in range(time - 2, -1, -1):
            for d in range(dim):
                u_grad[b, t, d] = A[b, t + 1, d] * u_grad[b, t + 1, d] + h_grad[b, t, d]
        for t in range(1, time):
            for d in range(dim):
                A_grad[b, t, d] = u_grad[b, t, d] * h[b, t - 1, d]
        for d in range(dim):
            A_grad[b, 0, d] = u_grad[b, 0, d] * state[b, d]
            state_grad[b, d] = u_grad[b, 0, d] * A[b, 0, d]
