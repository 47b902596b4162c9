"""Mamba-1's selective scan in Numba, forward and backward, for float32 on a CPU.

Channels are independent, so 8, 16 or 32 of them are one SIMD vector, see `ops/lanes.py`, which goes through many steps
before the next ones. The forward stores only the state of every 16th step; the backward recomputes the 16 states in
between.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops.lanes import (
    WIDTH,
    add_product,
    add_scaled,
    fold,
    load,
    load_scalar,
    multiply,
    pointer,
    store,
    zeros,
)
from lit_retrieval.ops.recomputed import CHUNK, recur
from lit_retrieval.ops.rows import add_row_sums, copy_rows
from lit_retrieval.ops.vector_exp import FAST_MATH, vector_exp


class _Arrays(NamedTuple):
    """All inputs, or their gradients: `A (1 or batch, state_dim, dim)`, the others as in `selective_scan`."""

    x: Any
    dt: Any
    A: Any
    B: Any
    C: Any


class _Memory(NamedTuple):
    """Arrays for one sample's backward, in blocks: the elements of some channels, for each state, are side by side.

    Args:
        A: The decay rates, all blocks.
        A_grad: Their gradients so far.
        h_grad: The gradient of the state.
        states: The states of a chunk for one block, the one before it first.
        decays: The decays of its steps.
        sums: Sums over lanes that are not finished: eight elements for each state, for B and then for C.
    """

    A: Any
    A_grad: Any
    h_grad: Any
    states: Any
    decays: Any
    sums: Any


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
    inputs = _Arrays(x, dt, A.t().unsqueeze(0), B, C)
    return recur(_forward, _backward, *(tensor.contiguous() for tensor in (*inputs, state)))


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _forward(width: Any, inputs: Any, state: Any, y: Any, last_state: Any, checkpoints: Any) -> None:
    """All steps of every sample; the state before steps 0, 16, 32, ... goes to `checkpoints` unless that is empty."""
    arrays = _Arrays(*inputs)
    batch, _, dim = arrays.x.shape
    blocks = dim // (WIDTH * len(width))
    for part in prange(batch * blocks):
        d = part % blocks * WIDTH * len(width)
        _run(width, part // blocks, d, arrays, state, y, last_state, checkpoints)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _run(width: Any, b: int, d: int, inputs: Any, state: Any, y: Any, last_state: Any, checkpoints: Any) -> None:
    """All steps of the channels from d on; the state is changed in `last_state`."""
    x, dt, A, B, C = inputs
    (_, time, dim), state_dim = x.shape, A.shape[1]
    A_d, size = pointer(A, d), state_dim * dim
    before, after = pointer(state, b * size + d), pointer(last_state, b * size + d)
    for t in range(time):
        if checkpoints.shape[1] > 0 and t % CHUNK == 0:
            kept = pointer(checkpoints, (b * checkpoints.shape[1] + t // CHUNK) * size + d)
            copy_rows(width, state_dim, before, dim, kept, dim)
        at, maps_at = (b * time + t) * dim + d, (b * time + t) * state_dim
        dt_t, B_t, C_t = load(width, pointer(dt, at), 0), pointer(B, maps_at), pointer(C, maps_at)
        inflow, found = multiply(dt_t, load(width, pointer(x, at), 0)), zeros(width)
        for n in range(state_dim):
            decay = vector_exp(multiply(dt_t, load(width, A_d, n * dim)))
            h = add_scaled(multiply(decay, load(width, before, n * dim)), load_scalar(B_t, n), inflow)
            store(after, n * dim, h)
            found = add_scaled(found, load_scalar(C_t, n), h)
        store(pointer(y, at), 0, found)
        before = after


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _backward(width: Any, inputs: Any, checkpoints: Any, y_grad: Any, grads: Any, state_grad: Any) -> None:
    """All gradients of every sample, from its last chunk to its first; channels add their parts to those of B and C."""
    arrays, array_grads = _Arrays(*inputs), _Arrays(*grads)
    (batch, _, dim), state_dim, columns = arrays.x.shape, arrays.A.shape[1], WIDTH * len(width)
    total, size = state_dim * dim, state_dim * columns
    for b in prange(batch):
        A, A_grad, h_grad = np.empty(total, np.float32), np.empty(total, np.float32), np.empty(total, np.float32)
        states, decays = np.empty((CHUNK + 1) * size, np.float32), np.empty(CHUNK * size, np.float32)
        memory = _Memory(A, A_grad, h_grad, states, decays, np.empty(2 * state_dim * WIDTH, np.float32))
        for d in range(0, dim, columns):
            block, at = d * state_dim, b * total + d
            copy_rows(width, state_dim, pointer(arrays.A, d), dim, pointer(A, block), columns)
            copy_rows(width, state_dim, pointer(array_grads.A, at), dim, pointer(A_grad, block), columns)
            copy_rows(width, state_dim, pointer(state_grad, at), dim, pointer(h_grad, block), columns)
        for chunk in range(checkpoints.shape[1] - 1, -1, -1):
            for d in range(0, dim, columns):
                _run_again(width, b, d, chunk, arrays, checkpoints, memory)
                _run_backward(width, b, d, chunk, arrays, y_grad, array_grads, memory)
        for d in range(0, dim, columns):
            block, at = d * state_dim, b * total + d
            copy_rows(width, state_dim, pointer(A_grad, block), columns, pointer(array_grads.A, at), dim)
            copy_rows(width, state_dim, pointer(h_grad, block), columns, pointer(state_grad, at), dim)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _run_again(width: Any, b: int, d: int, chunk: int, inputs: Any, checkpoints: Any, memory: Any) -> None:
    """The states and decays of a chunk: `states` begins with the kept one, and then has one for each step."""
    x, dt, B, A, states, decays = inputs.x, inputs.dt, inputs.B, memory.A, memory.states, memory.decays
    (_, time, dim), state_dim, columns = x.shape, B.shape[2], WIDTH * len(width)
    size = state_dim * columns
    kept = pointer(checkpoints, (b * checkpoints.shape[1] + chunk) * state_dim * dim + d)
    copy_rows(width, state_dim, kept, dim, pointer(states, 0), columns)
    for t in range(chunk * CHUNK, min((chunk + 1) * CHUNK, time)):
        i, at, B_t = t - chunk * CHUNK, (b * time + t) * dim + d, pointer(B, (b * time + t) * state_dim)
        dt_t = load(width, pointer(dt, at), 0)
        inflow = multiply(dt_t, load(width, pointer(x, at), 0))
        for n in range(state_dim):
            decay = vector_exp(multiply(dt_t, load(width, pointer(A, d * state_dim), n * columns)))
            before = load(width, pointer(states, i * size), n * columns)
            store(pointer(decays, i * size), n * columns, decay)
            after = add_scaled(multiply(decay, before), load_scalar(B_t, n), inflow)
            store(pointer(states, (i + 1) * size), n * columns, after)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _run_backward(width: Any, b: int, d: int, chunk: int, inputs: Any, y_grad: Any, grads: Any, memory: Any) -> None:
    """The gradients of a chunk's steps, the last one first; `memory.h_grad` is that of the state after the step."""
    x, dt, _, B, C = inputs
    A, A_grad, h_grad, states, decays, sums = memory
    (_, time, dim), state_dim, columns = x.shape, B.shape[2], WIDTH * len(width)
    size, C_start = state_dim * columns, state_dim * WIDTH
    for t in range(min((chunk + 1) * CHUNK, time) - 1, chunk * CHUNK - 1, -1):
        i, at, maps_at = t - chunk * CHUNK, (b * time + t) * dim + d, (b * time + t) * state_dim
        x_t, dt_t = load(width, pointer(x, at), 0), load(width, pointer(dt, at), 0)
        y_grad_t, inflow = load(width, pointer(y_grad, at), 0), multiply(dt_t, x_t)
        inflow_grad, exponent_grad = zeros(width), zeros(width)
        for n in range(state_dim):
            before = load(width, pointer(states, i * size), n * columns)
            after = load(width, pointer(states, (i + 1) * size), n * columns)
            own = d * state_dim + n * columns
            h_grad_n, A_grad_n = pointer(h_grad, own), pointer(A_grad, own)
            grad = add_scaled(load(width, h_grad_n, 0), load_scalar(pointer(C, maps_at), n), y_grad_t)
            store(pointer(sums, n * WIDTH), 0, fold(multiply(grad, inflow)))
            store(pointer(sums, C_start + n * WIDTH), 0, fold(multiply(y_grad_t, after)))
            inflow_grad = add_scaled(inflow_grad, load_scalar(pointer(B, maps_at), n), grad)
            grad = multiply(grad, load(width, pointer(decays, i * size), n * columns))
            through_decay = multiply(grad, before)
            A_n = load(width, pointer(A, d * state_dim), n * columns)
            exponent_grad = add_product(exponent_grad, through_decay, A_n)
            store(A_grad_n, 0, add_product(load(width, A_grad_n, 0), through_decay, dt_t))
            store(h_grad_n, 0, grad)
        store(pointer(grads.x, at), 0, multiply(inflow_grad, dt_t))
        store(pointer(grads.dt, at), 0, add_product(exponent_grad, inflow_grad, x_t))
        add_row_sums(state_dim, pointer(sums, 0), 0, pointer(grads.B, maps_at))
        add_row_sums(state_dim, pointer(sums, 0), C_start, pointer(grads.C, maps_at))
