"""The matrix-valued linear recurrence in Numba, forward and backward, for float32 on a CPU.

The columns of the state are independent, so 8, 16 or 32 of them are computed together. A row of these is one SIMD
vector, see `ops/lanes.py`. Dimensions are padded with zeros to multiples of eight. The forward stores only the state of
every 16th step; the backward recomputes the 16 states in between.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops.lanes import (
    WIDTH,
    add,
    add_product,
    add_scaled,
    fold,
    load,
    load_scalar,
    multiply,
    pointer,
    scale,
    store,
    store_scalar,
    total,
    zeros,
)
from lit_retrieval.ops.recomputed import CHUNK, recur
from lit_retrieval.ops.rows import add_row_sums, copy_rows, row
from lit_retrieval.ops.vector_exp import FAST_MATH


class _Arrays(NamedTuple):
    """The inputs of all steps, or their gradients: `(batch, time, heads, dim)`, `(1 or batch, 1, heads, dim)` for skip.

    Several heads may share a query and a key. Without reads and writes these two are empty.
    """

    v: Any
    q: Any
    k: Any
    rate: Any
    decay: Any
    read: Any
    write: Any
    skip: Any


class _Block(NamedTuple):
    """Columns of one head, from `start` on: head h of sample b, with the queries and keys of `group`."""

    b: int
    group: int
    h: int
    start: int


class _Step(NamedTuple):
    """Pointers to one head's inputs in one step, or to their gradients."""

    q: Any
    k: Any
    v: Any
    rate: Any
    decay: Any
    read: Any
    write: Any


class _Memory(NamedTuple):
    """Arrays for what the backward computes again and sums up.

    Args:
        states: The states of a chunk, the one before it first.
        found: What each step of a chunk reads.
        parts: Sums over lanes that are not finished, eight elements for each key.
    """

    states: Any
    found: Any
    parts: Any


def linear_recurrence_cpu(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    read: Tensor | None = None,
    write: Tensor | None = None,
    state: Tensor | None = None,
    rate: Tensor | None = None,
    skip: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The recurrence in Numba, float32 only; arguments and results as in `linear_recurrence`."""
    key_dim, value_dim = q.shape[-1], v.shape[-1]
    if key_dim % WIDTH or value_dim % WIDTH:
        o, last_state = linear_recurrence_cpu(*_padded(q, k, v, log_decay, read, write, state, rate, skip))
        return o[..., :value_dim], last_state[..., :key_dim, :value_dim]
    ones = torch.ones_like(v[..., :1])
    decay = ones if log_decay is None else log_decay.exp()
    rate = ones if rate is None else rate
    skip = v.new_zeros(1, 1, *v.shape[2:]) if skip is None else skip.reshape(1, 1, *v.shape[2:])
    if read is None or write is None:
        read = write = q.new_empty(0, 0, 0, 0)
    if state is None:
        state = v.new_zeros(*v.shape[::2], key_dim, value_dim)
    inputs = _Arrays(v, q, k, rate, decay, read, write, skip)
    return recur(_forward, _backward, *(tensor.contiguous() for tensor in (*inputs, state)))


def _padded(
    q: Tensor, k: Tensor, v: Tensor, *others: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, *tuple[Tensor | None, ...]]:
    """The arguments with keys and values padded to multiples of `WIDTH` with zeros, which read and write nothing."""
    log_decay, read, write, state, rate, skip = others
    keys, values = (0, -q.shape[-1] % WIDTH), (0, -v.shape[-1] % WIDTH)
    decays = (0, 0) if log_decay is None or log_decay.shape[-1] == 1 else keys
    return (
        F.pad(q, keys), F.pad(k, keys), F.pad(v, values), _pad(log_decay, decays), _pad(read, keys), _pad(write, keys),
        _pad(state, (*values, *keys)), rate, _pad(skip, values),
    )  # fmt: skip


def _pad(tensor: Tensor | None, padding: tuple[int, ...]) -> Tensor | None:
    return None if tensor is None else F.pad(tensor, padding)


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _forward(width: Any, inputs: Any, state: Any, o: Any, last_state: Any, checkpoints: Any) -> None:
    """All steps of every head; the state before steps 0, 16, ... goes to `checkpoints` unless that is empty."""
    arrays = _Arrays(*inputs)
    (batch, _, groups, key_dim), (_, _, heads, value_dim) = arrays.q.shape, arrays.v.shape
    sharing = heads // groups
    for part in prange(batch * groups):
        b, group, memory = part // groups, part % groups, np.empty(key_dim * WIDTH * len(width), np.float32)
        for h in range(group * sharing, (group + 1) * sharing):
            for start in range(0, value_dim, WIDTH * len(width)):
                block = _Block(b, group, h, start)
                _run(width, block, arrays, state, o, last_state, checkpoints, memory)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _rows(arrays: Any, block: Any, t: int) -> Any:
    """The numbers of a step's row among all rows of the queries, and among those of the values."""
    (_, time, groups, _), heads = arrays.q.shape, arrays.v.shape[2]
    return (block.b * time + t) * groups + block.group, (block.b * time + t) * heads + block.h


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _at(arrays: Any, group_row: int, head_row: int, start: int) -> Any:
    """The `_Step` with these rows, and the values from column `start` on."""
    key_dim, value_dim, decay_dim = arrays.q.shape[3], arrays.v.shape[3], arrays.decay.shape[3]
    return _Step(
        pointer(arrays.q, group_row * key_dim), pointer(arrays.k, group_row * key_dim),
        pointer(arrays.v, head_row * value_dim + start), pointer(arrays.rate, head_row),
        pointer(arrays.decay, head_row * decay_dim), pointer(arrays.read, head_row * key_dim),
        pointer(arrays.write, head_row * key_dim),
    )  # fmt: skip


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _run(
    width: Any, block: Any, inputs: Any, state: Any, o: Any, last_state: Any, checkpoints: Any, memory: Any
) -> None:
    """All steps of a block of columns; `memory` is the state as it changes."""
    (b, _, h, start), columns, key_dim, value_dim = block, WIDTH * len(width), inputs.q.shape[3], inputs.v.shape[3]
    decay_step = 1 if inputs.decay.shape[3] > 1 else 0
    skip, rows = load(width, row(inputs.skip, 0, 0, h, start), 0), pointer(memory, 0)
    copy_rows(width, key_dim, row(state, b, h, 0, start), value_dim, rows, columns)
    for t in range(inputs.v.shape[1]):
        if checkpoints.shape[2] > 0 and t % CHUNK == 0:
            copy_rows(width, key_dim, rows, columns, row(checkpoints, b, h, t // CHUNK, start * key_dim), columns)
        group_row, head_row = _rows(inputs, block, t)
        step = _at(inputs, group_row, head_row, start)
        v = load(width, step.v, 0)
        written, skipped = scale(load_scalar(step.rate, 0), v), multiply(skip, v)
        if len(inputs.read) > 0:
            found = _read(width, key_dim, step.read, rows)
            _write_two(width, key_dim, decay_step, step, written, found, rows, rows)
            result = _read(width, key_dim, step.q, rows)
        else:
            result = _write_and_read(width, key_dim, decay_step, step, written, rows)
        store(pointer(o, head_row * value_dim + start), 0, add(result, skipped))
    copy_rows(width, key_dim, rows, columns, row(last_state, b, h, 0, start), value_dim)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _read(width: Any, key_dim: int, key: Any, state: Any) -> Any:
    """The sum of the state's rows, weighted by a key."""
    found = zeros(width)
    for i in range(key_dim):
        found = add_scaled(found, load_scalar(key, i), load(width, state, i * WIDTH * len(width)))
    return found


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _write_and_read(width: Any, key_dim: int, decay_step: int, step: Any, v: Any, state: Any) -> Any:
    """A step without a correction, and what q reads after it; `decay_step` is 0 if all keys share a decay, else 1."""
    found = zeros(width)
    for i in range(key_dim):
        at = i * WIDTH * len(width)
        kept = scale(load_scalar(step.decay, i * decay_step), load(width, state, at))
        after = add_scaled(kept, load_scalar(step.k, i), v)
        store(state, at, after)
        found = add_scaled(found, load_scalar(step.q, i), after)
    return found


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _write(width: Any, key_dim: int, decay_step: int, step: Any, v: Any, before: Any, after: Any) -> None:
    """A step without a correction, from the state `before` it to that `after` it."""
    for i in range(key_dim):
        at = i * WIDTH * len(width)
        kept = scale(load_scalar(step.decay, i * decay_step), load(width, before, at))
        store(after, at, add_scaled(kept, load_scalar(step.k, i), v))


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _write_two(
    width: Any, key_dim: int, decay_step: int, step: Any, v: Any, found: Any, before: Any, after: Any
) -> None:
    """A step that also writes what it `found` in the state before it."""
    for i in range(key_dim):
        at = i * WIDTH * len(width)
        kept = scale(load_scalar(step.decay, i * decay_step), load(width, before, at))
        written = add_scaled(kept, load_scalar(step.k, i), v)
        store(after, at, add_scaled(written, load_scalar(step.write, i), found))


def _backward(width: Any, inputs: Any, *others: Any) -> None:
    """All gradients of every head, in as many parts of a sample as samples and threads need."""
    values, queries, *_ = inputs
    # Heads with a query share a thread.
    _backward_in_parts(width, 1 if len(values) >= torch.get_num_threads() else queries.shape[2], inputs, *others)


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _backward_in_parts(
    width: Any, splits: int, inputs: Any, checkpoints: Any, o_grad: Any, grads: Any, state_grad: Any
) -> None:
    """All gradients of every head, from its last chunk to its first; the heads of a sample are split into parts.

    All heads of a part come before the next chunk, since they are next to each other in memory. Heads that share
    queries, and blocks of columns, add their parts to gradients of zero.
    """
    arrays, array_grads = _Arrays(*inputs), _Arrays(*grads)
    (batch, _, groups, key_dim), (_, _, all_heads, value_dim) = arrays.q.shape, arrays.v.shape
    heads, sharing, columns = all_heads // splits, all_heads // groups, WIDTH * len(width)
    for split in prange(batch * splits):
        b, first = split // splits, split % splits * heads
        states, found = np.empty((CHUNK + 1) * key_dim * columns, np.float32), np.empty(CHUNK * columns, np.float32)
        parts, carried = np.empty(4 * key_dim * WIDTH, np.float32), np.empty(heads * key_dim * value_dim, np.float32)
        memory = _Memory(states, found, parts)
        for part in range(0, heads * value_dim, columns):
            rows = row(state_grad, b, first + part // value_dim, 0, part % value_dim)
            copy_rows(width, key_dim, rows, value_dim, pointer(carried, part * key_dim), columns)
        for chunk in range(checkpoints.shape[2] - 1, -1, -1):
            for part in range(0, heads * value_dim, columns):
                h, grad = first + part // value_dim, pointer(carried, part * key_dim)
                block = _Block(b, h // sharing, h, part % value_dim)
                _run_again(width, block, chunk, arrays, checkpoints, memory)
                _run_backward(width, block, chunk, arrays, o_grad, array_grads, grad, memory)
        for part in range(0, heads * value_dim, columns):
            rows = row(state_grad, b, first + part // value_dim, 0, part % value_dim)
            copy_rows(width, key_dim, pointer(carried, part * key_dim), columns, rows, value_dim)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _run_again(width: Any, block: Any, chunk: int, inputs: Any, checkpoints: Any, memory: Any) -> None:
    """The steps of a chunk for a block of columns: all of their states, and what each step reads."""
    (b, _, h, start), columns, key_dim = block, WIDTH * len(width), inputs.q.shape[3]
    size, decay_step = key_dim * columns, 1 if inputs.decay.shape[3] > 1 else 0
    kept = row(checkpoints, b, h, chunk, start * key_dim)
    copy_rows(width, key_dim, kept, columns, pointer(memory.states, 0), columns)
    for t in range(chunk * CHUNK, min((chunk + 1) * CHUNK, inputs.v.shape[1])):
        group_row, head_row = _rows(inputs, block, t)
        i, step = t - chunk * CHUNK, _at(inputs, group_row, head_row, start)
        before, after = pointer(memory.states, i * size), pointer(memory.states, (i + 1) * size)
        written = scale(load_scalar(step.rate, 0), load(width, step.v, 0))
        if len(inputs.read) > 0:
            found = _read(width, key_dim, step.read, before)
            store(pointer(memory.found, i * columns), 0, found)
            _write_two(width, key_dim, decay_step, step, written, found, before, after)
        else:
            _write(width, key_dim, decay_step, step, written, before, after)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _run_backward(
    width: Any, block: Any, chunk: int, inputs: Any, o_grad: Any, grads: Any, state_grad: Any, memory: Any
) -> None:
    """All gradients of a chunk for a block of columns; `state_grad` points to that of the state."""
    (b, _, h, start), columns, key_dim, value_dim = block, WIDTH * len(width), inputs.q.shape[3], inputs.v.shape[3]
    size, decay_step = key_dim * columns, 1 if inputs.decay.shape[3] > 1 else 0
    skip, skip_sum = load(width, row(inputs.skip, 0, 0, h, start), 0), zeros(width)
    parts = pointer(memory.parts, 0)
    for t in range(min((chunk + 1) * CHUNK, inputs.v.shape[1]) - 1, chunk * CHUNK - 1, -1):
        i, (group_row, head_row) = t - chunk * CHUNK, _rows(inputs, block, t)
        step, grad = _at(inputs, group_row, head_row, start), _at(grads, group_row, head_row, start)
        before, after = pointer(memory.states, i * size), pointer(memory.states, (i + 1) * size)
        v, rate = load(width, step.v, 0), load_scalar(step.rate, 0)
        out_grad = load(width, pointer(o_grad, head_row * value_dim + start), 0)
        written = scale(rate, v)
        if len(inputs.read) > 0:
            found = load(width, pointer(memory.found, i * columns), 0)
            written_grad = _corrected_step_backward(
                width, key_dim, decay_step, step, grad, written, found, before, after, out_grad, state_grad, parts
            )
        else:
            written_grad = _step_backward(
                width, key_dim, decay_step, step, grad, written, before, after, out_grad, state_grad, parts
            )
        store_scalar(grad.rate, 0, load_scalar(grad.rate, 0) + total(multiply(written_grad, v)))
        store(grad.v, 0, add_scaled(multiply(skip, out_grad), rate, written_grad))
        skip_sum = add_product(skip_sum, out_grad, v)
    skip_grad = row(grads.skip, b, 0, h, start)
    store(skip_grad, 0, add(load(width, skip_grad, 0), skip_sum))


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _step_backward(
    width: Any, key_dim: int, decay_step: int, step: Any, step_grad: Any, v: Any, before: Any, after: Any,
    o_grad: Any, state_grad: Any, parts: Any,
) -> Any:  # fmt: skip
    """A step without a correction: `state_grad` goes from the gradient of the state after it to that of the one before.

    Returns:
        The gradient of the values.
    """
    part = key_dim * WIDTH
    v_grad, decay_sum = zeros(width), zeros(width)
    for i in range(key_dim):
        at = i * WIDTH * len(width)
        grad = add_scaled(load(width, state_grad, at), load_scalar(step.q, i), o_grad)
        before_i = load(width, before, at)
        store(parts, i * WIDTH, fold(multiply(load(width, after, at), o_grad)))
        store(parts, part + i * WIDTH, fold(multiply(grad, v)))
        if decay_step:
            store(parts, 2 * part + i * WIDTH, fold(multiply(grad, before_i)))
        else:
            decay_sum = add_product(decay_sum, grad, before_i)
        v_grad = add_scaled(v_grad, load_scalar(step.k, i), grad)
        store(state_grad, at, scale(load_scalar(step.decay, i * decay_step), grad))
    add_row_sums(key_dim, parts, 0, step_grad.q)
    add_row_sums(key_dim, parts, part, step_grad.k)
    _add_decay_grad(key_dim, decay_step, parts, 2 * part, decay_sum, step_grad.decay)
    return v_grad


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _corrected_step_backward(
    width: Any, key_dim: int, decay_step: int, step: Any, step_grad: Any, v: Any, found: Any, before: Any, after: Any,
    o_grad: Any, state_grad: Any, parts: Any,
) -> Any:  # fmt: skip
    """The same for a step that reads and writes: writes first, since their gradient is that of what was read."""
    part = key_dim * WIDTH
    v_grad, found_grad, decay_sum = zeros(width), zeros(width), zeros(width)
    for i in range(key_dim):
        at = i * WIDTH * len(width)
        grad = add_scaled(load(width, state_grad, at), load_scalar(step.q, i), o_grad)
        before_i = load(width, before, at)
        store(parts, i * WIDTH, fold(multiply(load(width, after, at), o_grad)))
        store(parts, part + i * WIDTH, fold(multiply(grad, v)))
        store(parts, 3 * part + i * WIDTH, fold(multiply(grad, found)))
        if decay_step:
            store(parts, 2 * part + i * WIDTH, fold(multiply(grad, before_i)))
        else:
            decay_sum = add_product(decay_sum, grad, before_i)
        v_grad = add_scaled(v_grad, load_scalar(step.k, i), grad)
        found_grad = add_scaled(found_grad, load_scalar(step.write, i), grad)
        store(state_grad, at, scale(load_scalar(step.decay, i * decay_step), grad))
    add_row_sums(key_dim, parts, 0, step_grad.q)
    add_row_sums(key_dim, parts, part, step_grad.k)
    add_row_sums(key_dim, parts, 3 * part, step_grad.write)
    _add_decay_grad(key_dim, decay_step, parts, 2 * part, decay_sum, step_grad.decay)
    for i in range(key_dim):
        at = i * WIDTH * len(width)
        store(parts, i * WIDTH, fold(multiply(load(width, before, at), found_grad)))
        store(state_grad, at, add_scaled(load(width, state_grad, at), load_scalar(step.read, i), found_grad))
    add_row_sums(key_dim, parts, 0, step_grad.read)
    return v_grad


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _add_decay_grad(key_dim: int, decay_step: int, parts: Any, start: int, decay_sum: Any, decay_grad: Any) -> None:
    """Add the gradients of a decay for each key, from `parts`, or that of one for all, which is in `decay_sum`."""
    if decay_step:
        add_row_sums(key_dim, parts, start, decay_grad)
    else:
        store_scalar(decay_grad, 0, load_scalar(decay_grad, 0) + total(decay_sum))
