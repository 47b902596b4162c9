"""The matrix-valued linear recurrence in Numba, forward and backward, for float32 on a CPU.

A row of the state is one SIMD value, see `ops/lanes.py`: of all its columns if they are 8, 16 or 32, else of so many
after the other, since columns know nothing of each other. Dimensions are filled up with zeros to multiples of eight.
The forward keeps the state of every 16th step only; the backward computes the 16 states between two of them again.
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
    row,
    row_sums,
    scale,
    store,
    total,
    widest,
    zeros,
)
from lit_retrieval.ops.vector_exp import FAST_MATH

CHUNK = 16  # steps between two kept states; 17 states of 64 x 32 numbers fit into a core's second-level cache
_ONE_ROW = lanes(WIDTH)


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
        o, last_state = linear_recurrence_cpu(*_filled(q, k, v, log_decay, read, write, state, rate, skip))
        return o[..., :value_dim], last_state[..., :key_dim, :value_dim]
    ones = torch.ones_like(v[..., :1])
    decay = ones if log_decay is None else log_decay.exp()
    rate = ones if rate is None else rate
    skip = v.new_zeros(v.shape[2:]) if skip is None else skip
    if read is None or write is None:
        read = write = q.new_empty(0, 0, 0, 0)  # the kernels take an empty tensor for none
    if state is None:
        state = v.new_zeros(*v.shape[::2], key_dim, value_dim)
    tensors = [tensor.contiguous() for tensor in (q, k, v, rate, decay, read, write, skip, state)]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        o, last_state = _LinearRecurrence.apply(*tensors)  # type: ignore[no-untyped-call]
        return o, last_state
    o, last_state = torch.empty_like(tensors[2]), torch.empty_like(tensors[-1])
    run_kernel(_forward, widest(v.shape[3]), *tensors, o, last_state, q.new_empty(0, 0, 0, 0))
    return o, last_state


def _filled(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None,
    read: Tensor | None,
    write: Tensor | None,
    state: Tensor | None,
    rate: Tensor | None,
    skip: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, *tuple[Tensor | None, ...]]:
    """The arguments with zeros for more keys and values, up to multiples of `WIDTH`; zeros find and write nothing."""
    keys, values = (0, -q.shape[-1] % WIDTH), (0, -v.shape[-1] % WIDTH)
    decays = (0, 0) if log_decay is None or log_decay.shape[-1] == 1 else keys
    return (
        F.pad(q, keys), F.pad(k, keys), F.pad(v, values), _pad(log_decay, decays), _pad(read, keys), _pad(write, keys),
        _pad(state, (*values, *keys)), rate, _pad(skip, values),
    )  # fmt: skip


def _pad(tensor: Tensor | None, padding: tuple[int, ...]) -> Tensor | None:
    return None if tensor is None else F.pad(tensor, padding)


class _LinearRecurrence(torch.autograd.Function):
    """The recurrence with gradients for everything it takes; decays are not in logs here."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, rate: Tensor, decay: Tensor, read: Tensor, write: Tensor,
        skip: Tensor, state: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        o, last_state = torch.empty_like(v), torch.empty_like(state)
        checkpoints = v.new_empty(*state.shape[:2], -(-v.shape[1] // CHUNK), state.shape[2] * state.shape[3])
        inputs = (q, k, v, rate, decay, read, write, skip)
        run_kernel(_forward, widest(v.shape[3]), *inputs, state, o, last_state, checkpoints)
        ctx.save_for_backward(*inputs, checkpoints)
        ctx.set_materialize_grads(False)
        return o, last_state

    @staticmethod
    def backward(ctx: Any, *output_grads: Tensor | None) -> tuple[Tensor, ...]:
        *inputs, checkpoints = ctx.saved_tensors
        o_grad, last_state_grad = output_grads
        v = inputs[2]
        o_grad = torch.zeros_like(v) if o_grad is None else o_grad.contiguous()
        # The kernel turns the last state's gradient into the first one's in place, so it gets its own copy.
        state_grad = (
            v.new_zeros(*v.shape[::2], inputs[0].shape[3], v.shape[3])
            if last_state_grad is None
            else last_state_grad.clone(memory_format=torch.contiguous_format)
        )
        grads = [torch.zeros_like(tensor) for tensor in inputs[:-1]]
        skip_grad = v.new_zeros(len(v), *v.shape[2:])  # one for each sample: the samples run at the same time
        splits = 1 if len(v) >= torch.get_num_threads() else inputs[0].shape[2]  # heads with a query share a thread
        run_kernel(_backward, widest(v.shape[3]), splits, *inputs, checkpoints, o_grad, *grads, skip_grad, state_grad)
        return (*grads, skip_grad.sum(0), state_grad)


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _forward(
    width: Any, q: Any, k: Any, v: Any, rate: Any, decay: Any, read: Any, write: Any, skip: Any, state: Any,
    o: Any, last_state: Any, checkpoints: Any,
) -> None:  # fmt: skip
    """All steps of every head; the state before steps 0, 16, ... goes to `checkpoints` unless that is empty."""
    (batch, _, groups, key_dim), heads = q.shape, v.shape[2] // q.shape[2]
    for group in prange(batch * groups):
        memory = np.empty(key_dim * WIDTH * len(width), np.float32)
        for h in range(group % groups * heads, (group % groups + 1) * heads):
            for start in range(0, v.shape[3], WIDTH * len(width)):
                _run(
                    width, group // groups, h, start, q, k, v, rate, decay, read, write, skip, state,
                    o, last_state, checkpoints, memory,
                )  # fmt: skip


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _run(
    width: Any, b: int, h: int, start: int, q: Any, k: Any, v: Any, rate: Any, decay: Any, read: Any, write: Any,
    skip: Any, state: Any, o: Any, last_state: Any, checkpoints: Any, memory: Any,
) -> None:  # fmt: skip
    """All steps of some columns of one head; `memory` is the state as it changes."""
    columns, key_dim, group = WIDTH * len(width), q.shape[3], h // (v.shape[2] // q.shape[2])
    value_dim, step = v.shape[3], 1 if decay.shape[3] > 1 else 0
    skip_h = load(width, place(skip, h * value_dim + start), 0)
    _copy_rows(width, key_dim, row(state, b, h, 0, start), value_dim, place(memory, 0), columns)
    for t in range(v.shape[1]):
        rows = place(memory, 0)
        if checkpoints.shape[2] > 0 and t % CHUNK == 0:
            _copy_rows(width, key_dim, rows, columns, row(checkpoints, b, h, t // CHUNK, start * key_dim), columns)
        q_t, k_t, decay_t = row(q, b, t, group, 0), row(k, b, t, group, 0), row(decay, b, t, h, 0)
        v_t = load(width, row(v, b, t, h, start), 0)
        written, skipped = scale(number(row(rate, b, t, h, 0), 0), v_t), multiply(skip_h, v_t)
        if len(read) > 0:
            found = _find(width, key_dim, row(read, b, t, h, 0), rows)
            _write_two(width, key_dim, k_t, written, decay_t, step, row(write, b, t, h, 0), found, rows, rows)
            found = _find(width, key_dim, q_t, rows)
        else:
            found = _write_and_find(width, key_dim, q_t, k_t, written, decay_t, step, rows)
        store(row(o, b, t, h, start), 0, add(found, skipped))
    _copy_rows(width, key_dim, place(memory, 0), columns, row(last_state, b, h, 0, start), value_dim)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _copy_rows(width: Any, key_dim: int, source: Any, source_step: int, target: Any, target_step: int) -> None:
    """Copy some columns of each row of a state; a row is so many numbers after the one before it."""
    for i in range(key_dim):
        store(target, i * target_step, load(width, source, i * source_step))


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _find(width: Any, key_dim: int, q: Any, rows: Any) -> Any:
    """The state's rows weighted by q."""
    found = zeros(width)
    for i in range(key_dim):
        found = add_scaled(found, number(q, i), load(width, rows, i * WIDTH * len(width)))
    return found


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _write_and_find(width: Any, key_dim: int, q: Any, k: Any, v: Any, decay: Any, step: int, rows: Any) -> Any:
    """One step without a correction, and what q finds then; `step` is 0 if all keys share a decay, else 1."""
    found = zeros(width)
    for i in range(key_dim):
        at = i * WIDTH * len(width)
        after = add_scaled(scale(number(decay, i * step), load(width, rows, at)), number(k, i), v)
        store(rows, at, after)
        found = add_scaled(found, number(q, i), after)
    return found


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _write(width: Any, key_dim: int, k: Any, v: Any, decay: Any, step: int, before: Any, after: Any) -> None:
    for i in range(key_dim):
        at = i * WIDTH * len(width)
        kept = scale(number(decay, i * step), load(width, before, at))
        store(after, at, add_scaled(kept, number(k, i), v))


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _write_two(
    width: Any, key_dim: int, k: Any, v: Any, decay: Any, step: int, write: Any, found: Any, before: Any, after: Any
) -> None:
    for i in range(key_dim):
        at = i * WIDTH * len(width)
        kept = scale(number(decay, i * step), load(width, before, at))
        store(after, at, add_scaled(add_scaled(kept, number(k, i), v), number(write, i), found))


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _backward(
    width: Any, splits: int, q: Any, k: Any, v: Any, rate: Any, decay: Any, read: Any, write: Any, skip: Any,
    checkpoints: Any, o_grad: Any, q_grad: Any, k_grad: Any, v_grad: Any, rate_grad: Any, decay_grad: Any,
    read_grad: Any, write_grad: Any, skip_grad: Any, state_grad: Any,
) -> None:  # fmt: skip
    """All gradients of every head, from its last chunk to its first; the heads of a sample are split into parts.

    All heads of a part come before the next chunk, since they stand together in memory. Heads that share queries, and
    some columns of the values after the other, add their parts to gradients of zero.
    """
    batch, key_dim, value_dim, columns = len(q), q.shape[3], v.shape[3], WIDTH * len(width)
    heads = v.shape[2] // splits
    for split in prange(batch * splits):
        b, first = split // splits, split % splits * heads
        states, founds = np.empty((CHUNK + 1) * key_dim * columns, np.float32), np.empty(CHUNK * columns, np.float32)
        memory, parts = np.empty(heads * key_dim * value_dim, np.float32), np.empty(4 * key_dim * WIDTH, np.float32)
        for part in range(0, heads * value_dim, columns):
            state_grads = row(state_grad, b, first + part // value_dim, 0, part % value_dim)
            _copy_rows(width, key_dim, state_grads, value_dim, place(memory, part * key_dim), columns)
        for chunk in range(checkpoints.shape[2] - 1, -1, -1):
            for part in range(0, heads * value_dim, columns):
                _run_backward(
                    width, b, first + part // value_dim, part % value_dim, chunk, q, k, v, rate, decay, read, write,
                    skip, checkpoints, o_grad, q_grad, k_grad, v_grad, rate_grad, decay_grad, read_grad, write_grad,
                    skip_grad, states, memory, part * key_dim, founds, parts,
                )  # fmt: skip
        for part in range(0, heads * value_dim, columns):
            state_grads = row(state_grad, b, first + part // value_dim, 0, part % value_dim)
            _copy_rows(width, key_dim, place(memory, part * key_dim), columns, state_grads, value_dim)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _run_backward(
    width: Any, b: int, h: int, start: int, chunk: int, q: Any, k: Any, v: Any, rate: Any, decay: Any, read: Any,
    write: Any, skip: Any, checkpoints: Any, o_grad: Any, q_grad: Any, k_grad: Any, v_grad: Any, rate_grad: Any,
    decay_grad: Any, read_grad: Any, write_grad: Any, skip_grad: Any, states: Any, memory: Any, memory_at: int,
    founds: Any, parts: Any,
) -> None:  # fmt: skip
    """All gradients of a chunk for some columns of one head; the state's begins at `memory_at` in `memory`."""
    columns, key_dim, group = WIDTH * len(width), q.shape[3], h // (v.shape[2] // q.shape[2])
    (_, time, _, value_dim), size, step = v.shape, key_dim * columns, 1 if decay.shape[3] > 1 else 0
    skip_h, skip_sum = load(width, place(skip, h * value_dim + start), 0), zeros(width)
    first, stop = chunk * CHUNK, min((chunk + 1) * CHUNK, time)
    kept = row(checkpoints, b, h, chunk, start * key_dim)
    _copy_rows(width, key_dim, kept, columns, place(states, 0), columns)
    _run_again(width, b, h, start, first, stop, k, v, rate, decay, read, write, states, founds)
    for t in range(stop - 1, first - 1, -1):
        before, after = place(states, (t - first) * size), place(states, (t - first + 1) * size)
        q_t, k_t, decay_t = row(q, b, t, group, 0), row(k, b, t, group, 0), row(decay, b, t, h, 0)
        q_grad_t, k_grad_t = row(q_grad, b, t, group, 0), row(k_grad, b, t, group, 0)
        decay_grad_t, rate_grad_t = row(decay_grad, b, t, h, 0), row(rate_grad, b, t, h, 0)
        v_t, o_grad_t = load(width, row(v, b, t, h, start), 0), load(width, row(o_grad, b, t, h, start), 0)
        rate_t = number(row(rate, b, t, h, 0), 0)
        written = scale(rate_t, v_t)
        if len(read) > 0:
            written_grad = _corrected_step_backward(
                width, key_dim, q_t, k_t, written, decay_t, step, row(read, b, t, h, 0), row(write, b, t, h, 0),
                load(width, place(founds, (t - first) * columns), 0), before, after, o_grad_t, q_grad_t, k_grad_t,
                decay_grad_t, row(read_grad, b, t, h, 0), row(write_grad, b, t, h, 0),
                place(memory, memory_at), place(parts, 0),
            )  # fmt: skip
        else:
            written_grad = _step_backward(
                width, key_dim, q_t, k_t, written, decay_t, step, before, after, o_grad_t, q_grad_t, k_grad_t,
                decay_grad_t, place(memory, memory_at), place(parts, 0),
            )  # fmt: skip
        put(rate_grad_t, 0, number(rate_grad_t, 0) + total(multiply(written_grad, v_t)))
        store(row(v_grad, b, t, h, start), 0, add_scaled(multiply(skip_h, o_grad_t), rate_t, written_grad))
        skip_sum = add_product(skip_sum, o_grad_t, v_t)
    skip_grads = place(skip_grad, (b * v.shape[2] + h) * value_dim + start)
    store(skip_grads, 0, add(load(width, skip_grads, 0), skip_sum))


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _run_again(
    width: Any, b: int, h: int, start: int, first: int, stop: int, k: Any, v: Any, rate: Any, decay: Any, read: Any,
    write: Any, states: Any, founds: Any,
) -> None:  # fmt: skip
    """Some steps of some columns of one head: all of their states, from the first one on, and what each step reads."""
    columns, key_dim, group = WIDTH * len(width), k.shape[3], h // (v.shape[2] // k.shape[2])
    size, step = key_dim * columns, 1 if decay.shape[3] > 1 else 0
    for t in range(first, stop):
        before, after = place(states, (t - first) * size), place(states, (t - first + 1) * size)
        k_t, decay_t = row(k, b, t, group, 0), row(decay, b, t, h, 0)
        written = scale(number(row(rate, b, t, h, 0), 0), load(width, row(v, b, t, h, start), 0))
        if len(read) > 0:
            found = _find(width, key_dim, row(read, b, t, h, 0), before)
            store(place(founds, (t - first) * columns), 0, found)
            _write_two(width, key_dim, k_t, written, decay_t, step, row(write, b, t, h, 0), found, before, after)
        else:
            _write(width, key_dim, k_t, written, decay_t, step, before, after)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _step_backward(
    width: Any, key_dim: int, q: Any, k: Any, v: Any, decay: Any, step: int, before: Any, after: Any, o_grad: Any,
    q_grad: Any, k_grad: Any, decay_grad: Any, grads: Any, parts: Any,
) -> Any:  # fmt: skip
    """One step without a correction: `grads` goes from the gradient of the state after it to that of the one before.

    Returns:
        The gradient of the values.
    """
    part = key_dim * WIDTH
    v_grad, decay_sum = zeros(width), zeros(width)
    for i in range(key_dim):
        at = i * WIDTH * len(width)
        grad, before_i = add_scaled(load(width, grads, at), number(q, i), o_grad), load(width, before, at)
        store(parts, i * WIDTH, fold(multiply(load(width, after, at), o_grad)))
        store(parts, part + i * WIDTH, fold(multiply(grad, v)))
        if step:
            store(parts, 2 * part + i * WIDTH, fold(multiply(grad, before_i)))
        else:
            decay_sum = add_product(decay_sum, grad, before_i)
        v_grad = add_scaled(v_grad, number(k, i), grad)
        store(grads, at, scale(number(decay, i * step), grad))
    _add_row_sums(key_dim, q_grad, parts, 0)
    _add_row_sums(key_dim, k_grad, parts, part)
    _add_decay_grad(key_dim, step, decay_grad, parts, 2 * part, decay_sum)
    return v_grad


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _corrected_step_backward(
    width: Any, key_dim: int, q: Any, k: Any, v: Any, decay: Any, step: int, read: Any, write: Any, found: Any,
    before: Any, after: Any, o_grad: Any, q_grad: Any, k_grad: Any, decay_grad: Any, read_grad: Any, write_grad: Any,
    grads: Any, parts: Any,
) -> Any:  # fmt: skip
    """The same for a step that reads and writes: what is written first, since its gradient is that of what was read."""
    part = key_dim * WIDTH
    v_grad, found_grad, decay_sum = zeros(width), zeros(width), zeros(width)
    for i in range(key_dim):
        at = i * WIDTH * len(width)
        grad, before_i = add_scaled(load(width, grads, at), number(q, i), o_grad), load(width, before, at)
        store(parts, i * WIDTH, fold(multiply(load(width, after, at), o_grad)))
        store(parts, part + i * WIDTH, fold(multiply(grad, v)))
        store(parts, 3 * part + i * WIDTH, fold(multiply(grad, found)))
        if step:
            store(parts, 2 * part + i * WIDTH, fold(multiply(grad, before_i)))
        else:
            decay_sum = add_product(decay_sum, grad, before_i)
        v_grad, found_grad = add_scaled(v_grad, number(k, i), grad), add_scaled(found_grad, number(write, i), grad)
        store(grads, at, scale(number(decay, i * step), grad))
    _add_row_sums(key_dim, q_grad, parts, 0)
    _add_row_sums(key_dim, k_grad, parts, part)
    _add_row_sums(key_dim, write_grad, parts, 3 * part)
    _add_decay_grad(key_dim, step, decay_grad, parts, 2 * part, decay_sum)
    for i in range(key_dim):
        at = i * WIDTH * len(width)
        store(parts, i * WIDTH, fold(multiply(load(width, before, at), found_grad)))
        store(grads, at, add_scaled(load(width, grads, at), number(read, i), found_grad))
    _add_row_sums(key_dim, read_grad, parts, 0)
    return v_grad


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _add_row_sums(key_dim: int, grad: Any, parts: Any, part: int) -> None:
    """Add to each key's gradient the eight numbers that stand for it in `parts`."""
    for i in range(0, key_dim, WIDTH):
        store(grad, i, add(load(_ONE_ROW, grad, i), row_sums(parts, part + i * WIDTH)))


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _add_decay_grad(key_dim: int, step: int, decay_grad: Any, parts: Any, part: int, decay_sum: Any) -> None:
    """Add the gradients of a decay for each key, from `parts`, or that of one for all, which is in `decay_sum`."""
    if step:
        _add_row_sums(key_dim, decay_grad, parts, part)
    else:
        put(decay_grad, 0, number(decay_grad, 0) + total(decay_sum))
