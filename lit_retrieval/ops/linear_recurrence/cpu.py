"""The matrix-valued linear recurrence in Numba, forward and backward, for float32 on a CPU.

Each head of each sample is one thread's work. Values are taken eight at a time, as SIMD registers, and `value_dim` is
filled up with zeros to a multiple of eight. The forward keeps the state of every 16th step only; the backward computes
the 16 states between two of them again.
"""

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops.arrays import run_kernel
from lit_retrieval.ops.lanes import WIDTH, add_product, add_scaled, load, scale, store, total, zeros
from lit_retrieval.ops.vector_exp import FAST_MATH

CHUNK = 16  # steps between two kept states; 17 states of 64 x 64 numbers fit into a core's second-level cache
_ZERO = np.float32(0.0)


def linear_recurrence_cpu(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    read: Tensor | None = None,
    write: Tensor | None = None,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The recurrence in Numba, float32 only; arguments and results as in `linear_recurrence`."""
    batch, _, heads, key_dim = q.shape
    value_dim = v.shape[-1]
    if missing := -value_dim % WIDTH:
        v, state = F.pad(v, (0, missing)), None if state is None else F.pad(state, (0, missing))
        o, last_state = linear_recurrence_cpu(q, k, v, log_decay, read, write, state)
        return o[..., :value_dim], last_state[..., :value_dim]
    if state is None:
        state = q.new_zeros(batch, heads, key_dim, value_dim)
    decay = torch.ones_like(q[..., :1]) if log_decay is None else log_decay.exp()
    if read is None or write is None:
        read = write = q.new_empty(0, 0, 0, 0)  # the kernels take an empty tensor for none
    tensors = [tensor.contiguous() for tensor in (q, k, v, decay, read, write, state)]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        o, last_state = _LinearRecurrence.apply(*tensors)  # type: ignore[no-untyped-call]
        return o, last_state
    o, last_state = torch.empty_like(tensors[2]), torch.empty_like(tensors[6])
    run_kernel(_forward, *tensors, o, last_state, q.new_empty(0, 0, 0, 0, 0))
    return o, last_state


class _LinearRecurrence(torch.autograd.Function):
    """The recurrence with gradients for everything it takes; decays are not in logs here."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, decay: Tensor, read: Tensor, write: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        o, last_state = torch.empty_like(v), torch.empty_like(state)
        checkpoints = q.new_empty(*state.shape[:2], -(-q.shape[1] // CHUNK), *state.shape[2:])
        run_kernel(_forward, q, k, v, decay, read, write, state, o, last_state, checkpoints)
        ctx.save_for_backward(q, k, v, decay, read, write, checkpoints)
        ctx.set_materialize_grads(False)
        return o, last_state

    @staticmethod
    def backward(ctx: Any, *output_grads: Tensor | None) -> tuple[Tensor, ...]:
        *inputs, checkpoints = ctx.saved_tensors
        o_grad, last_state_grad = output_grads
        o_grad = torch.zeros_like(inputs[2]) if o_grad is None else o_grad.contiguous()
        # The kernel turns the last state's gradient into the first one's in place, so it gets its own copy.
        state_grad = (
            torch.zeros_like(checkpoints[:, :, 0])
            if last_state_grad is None
            else last_state_grad.clone(memory_format=torch.contiguous_format)
        )
        grads = [torch.empty_like(tensor) for tensor in inputs]
        run_kernel(_backward, *inputs, checkpoints, o_grad, *grads, state_grad)
        return (*grads, state_grad)


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _forward(
    q: Any, k: Any, v: Any, decay: Any, read: Any, write: Any, state: Any, o: Any, last_state: Any, checkpoints: Any
) -> None:
    """All steps of every head; the state before steps 0, 16, ... goes to `checkpoints` unless that is empty."""
    batch, time, heads, _ = q.shape
    keeps_states, corrects = checkpoints.shape[2] > 0, len(read) > 0
    for head in prange(batch * heads):
        b, h = head // heads, head % heads
        last_state[b, h] = state[b, h]
        rows, found = last_state[b, h].reshape(-1), np.empty(v.shape[3], np.float32)
        for t in range(time):
            if keeps_states and t % CHUNK == 0:
                checkpoints[b, h, t // CHUNK] = last_state[b, h]
            if corrects:
                _find(read[b, t, h], rows, found)
                _decay_and_add_two(k[b, t, h], v[b, t, h], decay[b, t, h], write[b, t, h], found, rows, rows)
            else:
                _decay_and_add(k[b, t, h], v[b, t, h], decay[b, t, h], rows, rows)
            _find(q[b, t, h], rows, o[b, t, h])


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _find(q: Any, rows: Any, found: Any) -> None:
    """The state's rows weighted by q; `rows (key_dim * value_dim)` is the state, row after row."""
    value_dim = len(found)
    for j in range(0, value_dim, WIDTH):
        sums = zeros()
        for i in range(len(q)):
            sums = add_scaled(sums, q[i], load(rows, i * value_dim + j))
        store(found, j, sums)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _decay_and_add(k: Any, v: Any, decay: Any, before: Any, after: Any) -> None:
    value_dim, step = len(v), 1 if len(decay) > 1 else 0  # one decay for all keys, or one for each
    for j in range(0, value_dim, WIDTH):
        v_j = load(v, j)
        for i in range(len(k)):
            at = i * value_dim + j
            store(after, at, add_scaled(scale(decay[i * step], load(before, at)), k[i], v_j))


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _decay_and_add_two(k: Any, v: Any, decay: Any, write: Any, found: Any, before: Any, after: Any) -> None:
    value_dim, step = len(v), 1 if len(decay) > 1 else 0
    for j in range(0, value_dim, WIDTH):
        v_j, found_j = load(v, j), load(found, j)
        for i in range(len(k)):
            at = i * value_dim + j
            kept = add_scaled(scale(decay[i * step], load(before, at)), k[i], v_j)
            store(after, at, add_scaled(kept, write[i], found_j))


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _backward(
    q: Any, k: Any, v: Any, decay: Any, read: Any, write: Any, checkpoints: Any, o_grad: Any,
    q_grad: Any, k_grad: Any, v_grad: Any, decay_grad: Any, read_grad: Any, write_grad: Any, state_grad: Any,
) -> None:  # fmt: skip
    """All gradients of every head, from its last chunk to its first."""
    batch, time, heads, key_dim = q.shape
    value_dim, corrects = v.shape[3], len(read) > 0
    for head in prange(batch * heads):
        b, h = head // heads, head % heads
        states = np.empty((CHUNK + 1, key_dim * value_dim), np.float32)
        found, found_grad = np.empty((CHUNK, value_dim), np.float32), np.empty(value_dim, np.float32)
        grads = state_grad[b, h].reshape(-1)
        for chunk in range(checkpoints.shape[2] - 1, -1, -1):
            start, stop = chunk * CHUNK, min((chunk + 1) * CHUNK, time)
            states[0] = checkpoints[b, h, chunk].reshape(-1)
            for t in range(start, stop):
                before, after, found_t = states[t - start], states[t - start + 1], found[t - start]
                if corrects:
                    _find(read[b, t, h], before, found_t)
                    _decay_and_add_two(k[b, t, h], v[b, t, h], decay[b, t, h], write[b, t, h], found_t, before, after)
                else:
                    _decay_and_add(k[b, t, h], v[b, t, h], decay[b, t, h], before, after)
            for t in range(stop - 1, start - 1, -1):
                before, after = states[t - start], states[t - start + 1]
                _step_backward(
                    q[b, t, h], k[b, t, h], v[b, t, h], decay[b, t, h], before, after, o_grad[b, t, h], not corrects,
                    q_grad[b, t, h], k_grad[b, t, h], v_grad[b, t, h], decay_grad[b, t, h], grads,
                )  # fmt: skip
                if corrects:
                    _write_backward(write[b, t, h], found[t - start], write_grad[b, t, h], found_grad, grads)
                    _read_backward(read[b, t, h], decay[b, t, h], before, found_grad, read_grad[b, t, h], grads)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _step_backward(
    q: Any, k: Any, v: Any, decay: Any, before: Any, after: Any, o_grad: Any, is_all: bool,
    q_grad: Any, k_grad: Any, v_grad: Any, decay_grad: Any, grads: Any,
) -> None:  # fmt: skip
    """The gradients of one step for q, k, v and decay.

    `grads` goes from the gradient of the state after the step to the one before it if this is all that the step does;
    else it gets the output's part.
    """
    value_dim, step = len(v), 1 if len(decay_grad) > 1 else 0
    v_grad[:] = _ZERO
    decay_sum = zeros()
    for i in range(len(q)):
        q_sum, k_sum = zeros(), zeros()
        if step:
            decay_sum = zeros()
        for j in range(0, value_dim, WIDTH):
            at, o_grad_j = i * value_dim + j, load(o_grad, j)
            grad = add_scaled(load(grads, at), q[i], o_grad_j)
            q_sum = add_product(q_sum, load(after, at), o_grad_j)
            k_sum = add_product(k_sum, grad, load(v, j))
            decay_sum = add_product(decay_sum, grad, load(before, at))
            store(v_grad, j, add_scaled(load(v_grad, j), k[i], grad))
            store(grads, at, scale(decay[i * step], grad) if is_all else grad)
        q_grad[i], k_grad[i] = total(q_sum), total(k_sum)
        if step:
            decay_grad[i] = total(decay_sum)
    if not step:
        decay_grad[0] = total(decay_sum)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _write_backward(write: Any, found: Any, write_grad: Any, found_grad: Any, grads: Any) -> None:
    """The gradients of what was written and of what was found, from that of the state after the step."""
    value_dim = len(found)
    found_grad[:] = _ZERO
    for i in range(len(write)):
        write_sum = zeros()
        for j in range(0, value_dim, WIDTH):
            grad = load(grads, i * value_dim + j)
            write_sum = add_product(write_sum, grad, load(found, j))
            store(found_grad, j, add_scaled(load(found_grad, j), write[i], grad))
        write_grad[i] = total(write_sum)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _read_backward(read: Any, decay: Any, before: Any, found_grad: Any, read_grad: Any, grads: Any) -> None:
    """The gradient of what was read; `grads` goes from that of the state after the step to that before it."""
    value_dim, step = len(found_grad), 1 if len(decay) > 1 else 0
    for i in range(len(read)):
        read_sum = zeros()
        for j in range(0, value_dim, WIDTH):
            at, found_j = i * value_dim + j, load(found_grad, j)
            read_sum = add_product(read_sum, load(before, at), found_j)
            store(grads, at, add_scaled(scale(decay[i * step], load(grads, at)), read[i], found_j))
        read_grad[i] = total(read_sum)
