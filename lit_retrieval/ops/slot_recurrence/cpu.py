"""The slot recurrence in Numba, forward and backward, for float32 on a CPU.

As in `linear_recurrence`, 8, 16 or 32 columns of the state are computed together, a row of them is one SIMD vector, see
`ops/lanes.py`, and the forward keeps the state of every 16th step. Slots are padded with zeros to multiples of eight.
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
from lit_retrieval.ops.rows import add_row_sums, copy_rows, row
from lit_retrieval.ops.vector_exp import FAST_MATH


class _Arrays(NamedTuple):
    """The inputs of all steps, or their gradients: `(batch, time, heads, dim)`."""

    v: Any
    q: Any
    k: Any
    decay: Any


class _Block(NamedTuple):
    """Columns of head h of sample b, from `start` on."""

    b: int
    h: int
    start: int


class _Memory(NamedTuple):
    """The states of a chunk, the one before it first; the state's gradient; and eight elements for each key, twice."""

    states: Any
    grad: Any
    parts: Any


def slot_recurrence_cpu(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The recurrence in Numba, float32 only; arguments and results as in `slot_recurrence`."""
    slots = v.shape[-1]
    if state is None:
        state = v.new_zeros(*q.shape[::2], q.shape[3], slots)
    if missing := -slots % WIDTH:
        padded = (F.pad(one, (0, missing)) for one in (v, log_decay, state))
        o, last_state = slot_recurrence_cpu(q, k, *padded)
        return o[..., :slots], last_state[..., :slots]
    inputs = _Arrays(v, q, k, log_decay.exp())
    return recur(_forward, _backward, *(one.contiguous() for one in (*inputs, state)))


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _forward(width: Any, inputs: Any, state: Any, o: Any, last_state: Any, checkpoints: Any) -> None:
    """All steps of every head; the state before steps 0, 16, ... goes to `checkpoints` unless that is empty."""
    arrays = _Arrays(*inputs)
    (batch, _, heads, key_dim), slots, columns = arrays.q.shape, arrays.v.shape[3], WIDTH * len(width)
    for part in prange(batch * heads):
        b, h, memory = part // heads, part % heads, np.empty(key_dim * columns, np.float32)
        for start in range(0, slots, columns):
            block, rows = _Block(b, h, start), pointer(memory, 0)
            copy_rows(width, key_dim, row(state, b, h, 0, start), slots, rows, columns)
            for t in range(arrays.v.shape[1]):
                if checkpoints.shape[2] > 0 and t % CHUNK == 0:
                    kept = row(checkpoints, b, h, t // CHUNK, start * key_dim)
                    copy_rows(width, key_dim, rows, columns, kept, columns)
                store(row(o, b, t, h, start), 0, _step(width, block, t, arrays, rows, rows))
            copy_rows(width, key_dim, rows, columns, row(last_state, b, h, 0, start), slots)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _step(width: Any, block: Any, t: int, arrays: Any, before: Any, after: Any) -> Any:
    """Step t from the state `before` it to that `after` it, and what the query reads there."""
    (b, h, start), key_dim = block, arrays.q.shape[3]
    q, k = row(arrays.q, b, t, h, 0), row(arrays.k, b, t, h, 0)
    v, decay = load(width, row(arrays.v, b, t, h, start), 0), load(width, row(arrays.decay, b, t, h, start), 0)
    found = zeros(width)
    for i in range(key_dim):
        at = i * WIDTH * len(width)
        written = add_scaled(multiply(decay, load(width, before, at)), load_scalar(k, i), v)
        store(after, at, written)
        found = add_scaled(found, load_scalar(q, i), written)
    return found


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _backward(width: Any, inputs: Any, checkpoints: Any, o_grad: Any, grads: Any, state_grad: Any) -> None:
    """All gradients of every head, from its last chunk to its first; blocks of columns add to those of q and k."""
    arrays, array_grads = _Arrays(*inputs), _Arrays(*grads)
    (batch, _, heads, key_dim), slots, columns = arrays.q.shape, arrays.v.shape[3], WIDTH * len(width)
    for part in prange(batch * heads):
        b, h, size = part // heads, part % heads, key_dim * columns
        states, grad = np.empty((CHUNK + 1) * size, np.float32), np.empty(size, np.float32)
        memory = _Memory(states, grad, np.empty(2 * key_dim * WIDTH, np.float32))
        for start in range(0, slots, columns):
            block, rows = _Block(b, h, start), row(state_grad, b, h, 0, start)
            copy_rows(width, key_dim, rows, slots, pointer(memory.grad, 0), columns)
            for chunk in range(checkpoints.shape[2] - 1, -1, -1):
                _run_chunk_backward(width, block, chunk, arrays, checkpoints, o_grad, array_grads, memory)
            copy_rows(width, key_dim, pointer(memory.grad, 0), columns, rows, slots)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _run_chunk_backward(
    width: Any, block: Any, chunk: int, arrays: Any, checkpoints: Any, o_grad: Any, grads: Any, memory: Any
) -> None:
    """The steps of a chunk again, for their states, and then their gradients from the last to the first."""
    (b, h, start), key_dim, columns = block, arrays.q.shape[3], WIDTH * len(width)
    size, first = key_dim * columns, chunk * CHUNK
    steps = min(CHUNK, arrays.v.shape[1] - first)
    kept = row(checkpoints, b, h, chunk, start * key_dim)
    copy_rows(width, key_dim, kept, columns, pointer(memory.states, 0), columns)
    for t in range(steps):
        before, after = pointer(memory.states, t * size), pointer(memory.states, (t + 1) * size)
        _step(width, block, first + t, arrays, before, after)
    for t in range(steps - 1, -1, -1):
        before, after = pointer(memory.states, t * size), pointer(memory.states, (t + 1) * size)
        output_grad = load(width, row(o_grad, b, first + t, h, start), 0)
        _step_backward(width, block, first + t, arrays, before, after, output_grad, grads, memory)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _step_backward(
    width: Any, block: Any, t: int, arrays: Any, before: Any, after: Any, output_grad: Any, grads: Any, memory: Any
) -> None:
    """The gradients of step t; that of the state becomes the one before the step."""
    (b, h, start), key_dim = block, arrays.q.shape[3]
    q, k = row(arrays.q, b, t, h, 0), row(arrays.k, b, t, h, 0)
    v, decay = load(width, row(arrays.v, b, t, h, start), 0), load(width, row(arrays.decay, b, t, h, start), 0)
    state_grad, parts, part = pointer(memory.grad, 0), pointer(memory.parts, 0), key_dim * WIDTH
    v_grad, decay_grad = zeros(width), zeros(width)
    for i in range(key_dim):
        at = i * WIDTH * len(width)
        grad = add_scaled(load(width, state_grad, at), load_scalar(q, i), output_grad)
        store(parts, i * WIDTH, fold(multiply(load(width, after, at), output_grad)))
        store(parts, part + i * WIDTH, fold(multiply(grad, v)))
        v_grad = add_scaled(v_grad, load_scalar(k, i), grad)
        decay_grad = add_product(decay_grad, load(width, before, at), grad)
        store(state_grad, at, multiply(decay, grad))
    add_row_sums(key_dim, parts, 0, row(grads.q, b, t, h, 0))
    add_row_sums(key_dim, parts, part, row(grads.k, b, t, h, 0))
    store(row(grads.v, b, t, h, start), 0, v_grad)
    store(row(grads.decay, b, t, h, start), 0, decay_grad)
