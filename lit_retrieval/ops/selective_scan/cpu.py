"""Mamba-1's selective scan in Numba, forward and backward, for float32 on a CPU.

The inner loops run over `dim`, which is last everywhere, so that they become SIMD instructions. The forward keeps the
state of every 16th step only; the backward computes the 16 states between two of them again.
"""

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from lit_retrieval.ops.arrays import run_kernel
from lit_retrieval.ops.vector_exp import FAST_MATH, vector_exp

CHUNK = 16  # steps between two kept states; the states and decays of one chunk fit into a core's second-level cache
_ZERO = np.float32(0.0)


def selective_scan_cpu(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mamba-1's selective scan in Numba, float32 only; arguments and results as in `selective_scan`."""
    if state is None:
        state = x.new_zeros(x.shape[0], A.shape[1], A.shape[0])
    x, dt, B, C, state = (tensor.contiguous() for tensor in (x, dt, B, C, state))
    A_t = A.t().contiguous()
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, dt, A_t, B, C, state)):
        y, last_state = _SelectiveScan.apply(x, dt, A_t, B, C, state)  # type: ignore[no-untyped-call]
        return y, last_state
    y, last_state = torch.empty_like(x), torch.empty_like(state)
    if x.shape[1] == 1:
        run_kernel(_step, x, dt, A_t, B, C, state, y, last_state)
    else:
        run_kernel(_forward, x, dt, A_t, B, C, state, y, last_state, x.new_empty(0, 0, 0, 0))
    return y, last_state


class _SelectiveScan(torch.autograd.Function):
    """The scan with gradients for everything it takes; `A_t` is `(state_dim, dim)`, the rest as in `selective_scan`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, A_t: Tensor, B: Tensor, C: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        y, last_state = torch.empty_like(x), torch.empty_like(state)
        checkpoints = x.new_empty(x.shape[0], -(-x.shape[1] // CHUNK), *A_t.shape)
        run_kernel(_forward, x, dt, A_t, B, C, state, y, last_state, checkpoints)
        ctx.save_for_backward(x, dt, A_t, B, C, checkpoints)
        ctx.set_materialize_grads(False)
        return y, last_state

    @staticmethod
    def backward(ctx: Any, *output_grads: Tensor | None) -> tuple[Tensor, ...]:
        x, dt, A_t, B, C, checkpoints = ctx.saved_tensors
        y_grad, last_state_grad = output_grads
        y_grad = torch.zeros_like(x) if y_grad is None else y_grad.contiguous()
        # The kernel turns the last state's gradient into the first one's in place, so it gets its own copy.
        state_grad = (
            torch.zeros_like(checkpoints[:, 0])
            if last_state_grad is None
            else last_state_grad.clone(memory_format=torch.contiguous_format)
        )
        x_grad, dt_grad, B_grad, C_grad = (torch.empty_like(tensor) for tensor in (x, dt, B, C))
        A_grad = torch.zeros_like(checkpoints[:, 0])  # one for each sample: the samples run at the same time
        grads = (x_grad, dt_grad, A_grad, B_grad, C_grad, state_grad)
        run_kernel(_backward, x, dt, A_t, B, C, checkpoints, y_grad, *grads)
        return x_grad, dt_grad, A_grad.sum(0), B_grad, C_grad, state_grad


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _step(x: Any, dt: Any, A: Any, B: Any, C: Any, state: Any, y: Any, last_state: Any) -> None:
    """One step for every sample: no copy of the state, nothing kept."""
    batch, _, dim = x.shape
    state_dim = A.shape[0]
    for b in prange(batch):
        dt_b, y_b = dt[b, 0], y[b, 0]
        inflow = np.empty(dim, np.float32)
        for d in range(dim):
            inflow[d] = dt_b[d] * x[b, 0, d]
            y_b[d] = _ZERO
        for n in range(state_dim):
            B_n, C_n, A_n, before, after = B[b, 0, n], C[b, 0, n], A[n], state[b, n], last_state[b, n]
            for d in range(dim):
                h = vector_exp(dt_b[d] * A_n[d]) * before[d] + inflow[d] * B_n
                after[d] = h
                y_b[d] += h * C_n


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _forward(x: Any, dt: Any, A: Any, B: Any, C: Any, state: Any, y: Any, last_state: Any, checkpoints: Any) -> None:
    """All steps of every sample; the state before steps 0, 16, 32, ... goes to `checkpoints` unless that is empty."""
    batch, time, dim = x.shape
    state_dim = A.shape[0]
    keeps_states = checkpoints.shape[1] > 0
    for b in prange(batch):
        h = last_state[b]
        h[:] = state[b]
        inflow, total = np.empty(dim, np.float32), np.empty(dim, np.float32)
        for t in range(time):
            if keeps_states and t % CHUNK == 0:
                checkpoints[b, t // CHUNK] = h
            dt_t, x_t, y_t = dt[b, t], x[b, t], y[b, t]
            for d in range(dim):
                inflow[d] = dt_t[d] * x_t[d]
                total[d] = _ZERO
            for n in range(state_dim):
                B_n, C_n, A_n, h_n = B[b, t, n], C[b, t, n], A[n], h[n]
                for d in range(dim):
                    value = vector_exp(dt_t[d] * A_n[d]) * h_n[d] + inflow[d] * B_n
                    h_n[d] = value
                    total[d] += value * C_n
            for d in range(dim):
                y_t[d] = total[d]


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _restore_chunk(x: Any, dt: Any, A: Any, B: Any, states: Any, decays: Any) -> None:
    """Compute a chunk's states and decays again; `states[0]` is the kept one, `states[i + 1]` follows step i."""
    time, dim = x.shape
    inflow = np.empty(dim, np.float32)
    for t in range(time):
        dt_t, x_t = dt[t], x[t]
        for d in range(dim):
            inflow[d] = dt_t[d] * x_t[d]
        for n in range(A.shape[0]):
            B_n, A_n, before, after, decay = B[t, n], A[n], states[t, n], states[t + 1, n], decays[t, n]
            for d in range(dim):
                e = vector_exp(dt_t[d] * A_n[d])
                decay[d] = e
                after[d] = e * before[d] + inflow[d] * B_n


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _backward(
    x: Any, dt: Any, A: Any, B: Any, C: Any, checkpoints: Any, y_grad: Any,
    x_grad: Any, dt_grad: Any, A_grad: Any, B_grad: Any, C_grad: Any, state_grad: Any,
) -> None:  # fmt: skip
    """All gradients of every sample, from its last chunk to its first."""
    batch, time, dim = x.shape
    state_dim = A.shape[0]
    for b in prange(batch):
        states = np.empty((CHUNK + 1, state_dim, dim), np.float32)
        decays = np.empty((CHUNK, state_dim, dim), np.float32)
        for chunk in range(checkpoints.shape[1] - 1, -1, -1):
            start, stop = chunk * CHUNK, min((chunk + 1) * CHUNK, time)
            states[0] = checkpoints[b, chunk]
            _restore_chunk(x[b, start:stop], dt[b, start:stop], A, B[b, start:stop], states, decays)
            for t in range(stop - 1, start - 1, -1):
                _step_backward(
                    x[b, t], dt[b, t], A, B[b, t], C[b, t], states[t - start], states[t - start + 1],
                    decays[t - start], y_grad[b, t], x_grad[b, t], dt_grad[b, t], A_grad[b], B_grad[b, t],
                    C_grad[b, t], state_grad[b],
                )  # fmt: skip


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _step_backward(
    x: Any, dt: Any, A: Any, B: Any, C: Any, before: Any, after: Any, decay: Any, y_grad: Any,
    x_grad: Any, dt_grad: Any, A_grad: Any, B_grad: Any, C_grad: Any, state_grad: Any,
) -> None:  # fmt: skip
    """One step's gradients; `state_grad` goes from the gradient of the state after the step to the one before it."""
    state_dim, dim = A.shape
    inflow, inflow_grad = np.empty(dim, np.float32), np.zeros(dim, np.float32)
    exponent_grad = np.zeros(dim, np.float32)  # of dt through exp(dt A)
    for d in range(dim):
        inflow[d] = dt[d] * x[d]
    for n in range(state_dim):
        B_n, C_n, A_n, A_grad_n, grad_n = B[n], C[n], A[n], A_grad[n], state_grad[n]
        before_n, after_n, decay_n = before[n], after[n], decay[n]
        B_sum, C_sum = _ZERO, _ZERO
        for d in range(dim):
            grad = grad_n[d] + y_grad[d] * C_n
            C_sum += y_grad[d] * after_n[d]
            B_sum += grad * inflow[d]
            inflow_grad[d] += grad * B_n
            grad_before = grad * decay_n[d]
            product = grad_before * before_n[d]
            exponent_grad[d] += product * A_n[d]
            A_grad_n[d] += product * dt[d]
            grad_n[d] = grad_before
        B_grad[n], C_grad[n] = B_sum, C_sum
    for d in range(dim):
        x_grad[d] = inflow_grad[d] * dt[d]
        dt_grad[d] = inflow_grad[d] * x[d] + exponent_grad[d]
