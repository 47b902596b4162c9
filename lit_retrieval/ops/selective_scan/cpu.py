"""Mamba-1's selective scan in Numba, forward and backward, for float32 on a CPU.

Channels know nothing of each other's states: 8, 16 or 32 of them are one SIMD value, see `ops/lanes.py`, and go through
many steps before the next ones. The forward keeps the state of every 16th step only; the backward computes the 16
states between two of them again.
"""

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops.arrays import run_kernel
from lit_retrieval.ops.lanes import (
    WIDTH,
    add,
    add_product,
    add_scaled,
    fold,
    lanes,
    load,
    multiply,
    number,
    place,
    put,
    row_sums,
    store,
    widest,
    zeros,
)
from lit_retrieval.ops.vector_exp import FAST_MATH, vector_exp

CHUNK = 16  # steps between two kept states; the states and decays of 32 channels fit into a core's second-level cache
_EIGHT = lanes(WIDTH)


def selective_scan_cpu(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mamba-1's selective scan in Numba, float32 only; arguments and results as in `selective_scan`."""
    dim = x.shape[2]
    if state is None:
        state = x.new_zeros(x.shape[0], A.shape[1], dim)
    if missing := -dim % WIDTH:
        x, dt, A_t, state = (F.pad(tensor, (0, missing)) for tensor in (x, dt, A.t(), state))
        y, last_state = selective_scan_cpu(x, dt, A_t.t(), B, C, state)
        return y[..., :dim], last_state[..., :dim]
    tensors = [tensor.contiguous() for tensor in (x, dt, A.t(), B, C, state)]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        y, last_state = _SelectiveScan.apply(*tensors)  # type: ignore[no-untyped-call]
        return y, last_state
    y, last_state = torch.empty_like(tensors[0]), torch.empty_like(tensors[5])
    run_kernel(_forward, widest(dim), *tensors, y, last_state, x.new_empty(0, 0, 0, 0))
    return y, last_state


class _SelectiveScan(torch.autograd.Function):
    """The scan with gradients for everything it takes; `A_t` is `(state_dim, dim)`, the rest as in `selective_scan`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, A_t: Tensor, B: Tensor, C: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        y, last_state = torch.empty_like(x), torch.empty_like(state)
        checkpoints = x.new_empty(x.shape[0], -(-x.shape[1] // CHUNK), *A_t.shape)
        run_kernel(_forward, widest(x.shape[2]), x, dt, A_t, B, C, state, y, last_state, checkpoints)
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
        x_grad, dt_grad = torch.empty_like(x), torch.empty_like(dt)
        B_grad, C_grad = torch.zeros_like(B), torch.zeros_like(C)
        A_grad = torch.zeros_like(checkpoints[:, 0])  # one for each sample: the samples run at the same time
        grads = (x_grad, dt_grad, A_grad, B_grad, C_grad, state_grad)
        run_kernel(_backward, widest(x.shape[2]), x, dt, A_t, B, C, checkpoints, y_grad, *grads)
        return x_grad, dt_grad, A_grad.sum(0), B_grad, C_grad, state_grad


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _forward(
    width: Any, x: Any, dt: Any, A: Any, B: Any, C: Any, state: Any, y: Any, last_state: Any, checkpoints: Any
) -> None:
    """All steps of every sample; the state before steps 0, 16, 32, ... goes to `checkpoints` unless that is empty."""
    batch, dim = len(x), x.shape[2]
    blocks = dim // (WIDTH * len(width))
    for part in prange(batch * blocks):
        d = part % blocks * WIDTH * len(width)
        _run(width, part // blocks, d, x, dt, A, B, C, state, y, last_state, checkpoints)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _run(
    width: Any, b: int, d: int, x: Any, dt: Any, A: Any, B: Any, C: Any, state: Any, y: Any, last_state: Any,
    checkpoints: Any,
) -> None:  # fmt: skip
    """All steps of the channels from d on; the state changes where the last one shall be."""
    (_, time, dim), state_dim = x.shape, len(A)
    A_d, size = place(A, d), state_dim * dim
    before, after = place(state, b * size + d), place(last_state, b * size + d)
    for t in range(time):
        if checkpoints.shape[1] > 0 and t % CHUNK == 0:
            kept = place(checkpoints, (b * checkpoints.shape[1] + t // CHUNK) * size + d)
            _copy_rows(width, state_dim, before, dim, kept, dim)
        at, maps_at = (b * time + t) * dim + d, (b * time + t) * state_dim
        dt_t, B_t, C_t = load(width, place(dt, at), 0), place(B, maps_at), place(C, maps_at)
        inflow, found = multiply(dt_t, load(width, place(x, at), 0)), zeros(width)
        for n in range(state_dim):
            decay = vector_exp(multiply(dt_t, load(width, A_d, n * dim)))
            h = add_scaled(multiply(decay, load(width, before, n * dim)), number(B_t, n), inflow)
            store(after, n * dim, h)
            found = add_scaled(found, number(C_t, n), h)
        store(place(y, at), 0, found)
        before = after


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _copy_rows(width: Any, state_dim: int, source: Any, source_step: int, target: Any, target_step: int) -> None:
    for n in range(state_dim):
        store(target, n * target_step, load(width, source, n * source_step))


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _backward(
    width: Any, x: Any, dt: Any, A: Any, B: Any, C: Any, checkpoints: Any, y_grad: Any,
    x_grad: Any, dt_grad: Any, A_grad: Any, B_grad: Any, C_grad: Any, state_grad: Any,
) -> None:  # fmt: skip
    """All gradients of every sample, from its last chunk to its first; channels add their parts to those of B and C."""
    batch, dim, state_dim = len(x), x.shape[2], len(A)
    columns, total = WIDTH * len(width), state_dim * dim
    for b in prange(batch):
        # What has a number for each state is in blocks here: all numbers of some channels stand together.
        states = np.empty((CHUNK + 1) * state_dim * columns, np.float32)
        decays, sums = np.empty(CHUNK * state_dim * columns, np.float32), np.empty(2 * state_dim * WIDTH, np.float32)
        A_b, A_grads, grads = np.empty(total, np.float32), np.empty(total, np.float32), np.empty(total, np.float32)
        for d in range(0, dim, columns):
            block, at = d * state_dim, b * total + d
            _copy_rows(width, state_dim, place(A, d), dim, place(A_b, block), columns)
            _copy_rows(width, state_dim, place(A_grad, at), dim, place(A_grads, block), columns)
            _copy_rows(width, state_dim, place(state_grad, at), dim, place(grads, block), columns)
        for chunk in range(checkpoints.shape[1] - 1, -1, -1):
            for d in range(0, dim, columns):
                _run_again(width, b, d, chunk, x, dt, A_b, B, checkpoints, states, decays)
                _run_backward(
                    width, b, d, chunk, x, dt, A_b, B, C, y_grad, x_grad, dt_grad, A_grads, B_grad, C_grad, grads,
                    states, decays, sums,
                )  # fmt: skip
        for d in range(0, dim, columns):
            block, at = d * state_dim, b * total + d
            _copy_rows(width, state_dim, place(A_grads, block), columns, place(A_grad, at), dim)
            _copy_rows(width, state_dim, place(grads, block), columns, place(state_grad, at), dim)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _run_again(
    width: Any, b: int, d: int, chunk: int, x: Any, dt: Any, A: Any, B: Any, checkpoints: Any, states: Any, decays: Any
) -> None:
    """The states and decays of a chunk: `states` begins with the kept one, and then has one for each step."""
    (_, time, dim), state_dim, columns = x.shape, B.shape[2], WIDTH * len(width)
    size = state_dim * columns
    kept = place(checkpoints, (b * checkpoints.shape[1] + chunk) * state_dim * dim + d)
    _copy_rows(width, state_dim, kept, dim, place(states, 0), columns)
    for t in range(chunk * CHUNK, min((chunk + 1) * CHUNK, time)):
        i, at, B_t = t - chunk * CHUNK, (b * time + t) * dim + d, place(B, (b * time + t) * state_dim)
        dt_t = load(width, place(dt, at), 0)
        inflow = multiply(dt_t, load(width, place(x, at), 0))
        for n in range(state_dim):
            decay = vector_exp(multiply(dt_t, load(width, place(A, d * state_dim), n * columns)))
            before = load(width, place(states, i * size), n * columns)
            store(place(decays, i * size), n * columns, decay)
            after = add_scaled(multiply(decay, before), number(B_t, n), inflow)
            store(place(states, (i + 1) * size), n * columns, after)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _run_backward(
    width: Any, b: int, d: int, chunk: int, x: Any, dt: Any, A: Any, B: Any, C: Any, y_grad: Any,
    x_grad: Any, dt_grad: Any, A_grads: Any, B_grad: Any, C_grad: Any, grads: Any,
    states: Any, decays: Any, sums: Any,
) -> None:  # fmt: skip
    """The gradients of a chunk's steps, the last one first; `grads` is that of the state after the step."""
    (_, time, dim), state_dim, columns = x.shape, B.shape[2], WIDTH * len(width)
    size, C_start = state_dim * columns, state_dim * WIDTH
    for t in range(min((chunk + 1) * CHUNK, time) - 1, chunk * CHUNK - 1, -1):
        i, at, maps_at = t - chunk * CHUNK, (b * time + t) * dim + d, (b * time + t) * state_dim
        x_t, dt_t, y_grad_t = (
            load(width, place(x, at), 0), load(width, place(dt, at), 0), load(width, place(y_grad, at), 0)
        )  # fmt: skip
        inflow, inflow_grad, exponent_grad = multiply(dt_t, x_t), zeros(width), zeros(width)
        for n in range(state_dim):
            before = load(width, place(states, i * size), n * columns)
            after = load(width, place(states, (i + 1) * size), n * columns)
            grad_n, A_grad_n = place(grads, d * state_dim + n * columns), place(A_grads, d * state_dim + n * columns)
            grad = add_scaled(load(width, grad_n, 0), number(place(C, maps_at), n), y_grad_t)
            store(place(sums, n * WIDTH), 0, fold(multiply(grad, inflow)))
            store(place(sums, C_start + n * WIDTH), 0, fold(multiply(y_grad_t, after)))
            inflow_grad = add_scaled(inflow_grad, number(place(B, maps_at), n), grad)
            grad = multiply(grad, load(width, place(decays, i * size), n * columns))
            through_decay = multiply(grad, before)
            exponent_grad = add_product(exponent_grad, through_decay, load(width, place(A, d * state_dim), n * columns))
            store(A_grad_n, 0, add_product(load(width, A_grad_n, 0), through_decay, dt_t))
            store(grad_n, 0, grad)
        store(place(x_grad, at), 0, multiply(inflow_grad, dt_t))
        store(place(dt_grad, at), 0, add_product(exponent_grad, inflow_grad, x_t))
        _add_row_sums(state_dim, sums, 0, place(B_grad, maps_at))
        _add_row_sums(state_dim, sums, C_start, place(C_grad, maps_at))


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _add_row_sums(state_dim: int, sums: Any, start: int, grad: Any) -> None:
    """Add to each number of a gradient the eight numbers that stand for it in `sums`."""
    whole = state_dim - state_dim % WIDTH
    for n in range(0, whole, WIDTH):
        store(grad, n, add(load(_EIGHT, grad, n), row_sums(place(sums, start), n * WIDTH)))
    for n in range(whole, state_dim):
        total = number(grad, n)
        for i in range(WIDTH):
            total += number(place(sums, start + n * WIDTH), i)
        put(grad, n, total)
