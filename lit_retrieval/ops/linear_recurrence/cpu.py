"""The matrix-valued linear recurrence in Numba, forward and backward, for float32 on a CPU.

Each head of each sample is one thread's work. The inner loops run over `value_dim`, which is last in the state, so that
they become SIMD instructions. The forward keeps the state of every 16th step only; the backward computes the 16 states
between two of them again.
"""

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from lit_retrieval.ops.arrays import run_kernel
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
    if state is None:
        state = q.new_zeros(batch, heads, key_dim, v.shape[-1])
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
        state_bh = last_state[b, h]
        state_bh[:] = state[b, h]
        found = np.empty(v.shape[3], np.float32)
        for t in range(time):
            if keeps_states and t % CHUNK == 0:
                checkpoints[b, h, t // CHUNK] = state_bh
            if corrects:
                _find(read[b, t, h], state_bh, found)
                _decay_and_add_two(k[b, t, h], v[b, t, h], decay[b, t, h], write[b, t, h], found, state_bh, state_bh)
            else:
                _decay_and_add(k[b, t, h], v[b, t, h], decay[b, t, h], state_bh, state_bh)
            _find(q[b, t, h], state_bh, o[b, t, h])


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _find(q: Any, state: Any, found: Any) -> None:
    """The state's rows weighted by q."""
    for j in range(len(found)):
        found[j] = _ZERO
    for i in range(len(q)):
        q_i, row = q[i], state[i]
        for j in range(len(found)):
            found[j] += q_i * row[j]


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _decay_and_add(k: Any, v: Any, decay: Any, before: Any, after: Any) -> None:
    for i in range(len(k)):
        k_i, decay_i, row, new_row = k[i], decay[i % len(decay)], before[i], after[i]  # one decay for all keys, or each
        for j in range(len(v)):
            new_row[j] = decay_i * row[j] + k_i * v[j]


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _decay_and_add_two(k: Any, v: Any, decay: Any, write: Any, found: Any, before: Any, after: Any) -> None:
    for i in range(len(k)):
        k_i, decay_i, write_i, row, new_row = k[i], decay[i % len(decay)], write[i], before[i], after[i]
        for j in range(len(v)):
            new_row[j] = decay_i * row[j] + k_i * v[j] + write_i * found[j]


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
        states = np.empty((CHUNK + 1, key_dim, value_dim), np.float32)
        found = np.empty((CHUNK, value_dim), np.float32)
        found_grad = np.empty(value_dim, np.float32)
        for chunk in range(checkpoints.shape[2] - 1, -1, -1):
            start, stop = chunk * CHUNK, min((chunk + 1) * CHUNK, time)
            states[0] = checkpoints[b, h, chunk]
            for t in range(start, stop):
                before, after, found_t = states[t - start], states[t - start + 1], found[t - start]
                if corrects:
                    _find(read[b, t, h], before, found_t)
                    _decay_and_add_two(k[b, t, h], v[b, t, h], decay[b, t, h], write[b, t, h], found_t, before, after)
                else:
                    _decay_and_add(k[b, t, h], v[b, t, h], decay[b, t, h], before, after)
            for t in range(stop - 1, start - 1, -1):
                before, after, found_t = states[t - start], states[t - start + 1], found[t - start]
                if corrects:
                    _add_found_grads(
                        q[b, t, h], write[b, t, h], found_t, o_grad[b, t, h], state_grad[b, h], write_grad[b, t, h],
                        found_grad,
                    )  # fmt: skip
                _step_backward(
                    q[b, t, h], k[b, t, h], v[b, t, h], decay[b, t, h], before, after, o_grad[b, t, h],
                    q_grad[b, t, h], k_grad[b, t, h], v_grad[b, t, h], decay_grad[b, t, h], state_grad[b, h],
                )  # fmt: skip
                if corrects:
                    _add_read_grads(read[b, t, h], before, found_grad, read_grad[b, t, h], state_grad[b, h])


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _step_backward(
    q: Any, k: Any, v: Any, decay: Any, before: Any, after: Any, o_grad: Any,
    q_grad: Any, k_grad: Any, v_grad: Any, decay_grad: Any, state_grad: Any,
) -> None:  # fmt: skip
    """One step's gradients; `state_grad` goes from the gradient of the state after the step to the one before it."""
    for j in range(len(v)):
        v_grad[j] = _ZERO
    decay_grad[:] = _ZERO
    for i in range(len(q)):
        q_i, k_i, decay_i, grad_i, before_i, after_i = (
            q[i],
            k[i],
            decay[i % len(decay)],
            state_grad[i],
            before[i],
            after[i],
        )
        q_sum, k_sum, decay_sum = _ZERO, _ZERO, _ZERO
        for j in range(len(v)):
            grad = grad_i[j] + q_i * o_grad[j]
            q_sum += after_i[j] * o_grad[j]
            k_sum += grad * v[j]
            decay_sum += grad * before_i[j]
            v_grad[j] += k_i * grad
            grad_i[j] = decay_i * grad
        q_grad[i], k_grad[i] = q_sum, k_sum
        decay_grad[i % len(decay)] += decay_sum


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _add_found_grads(
    q: Any, write: Any, found: Any, o_grad: Any, state_grad: Any, write_grad: Any, found_grad: Any
) -> None:
    """The gradients of what was written and of what was found, from that of the state after the step."""
    for j in range(len(found)):
        found_grad[j] = _ZERO
    for i in range(len(q)):
        q_i, write_i, grad_i = q[i], write[i], state_grad[i]
        write_sum = _ZERO
        for j in range(len(found)):
            grad = grad_i[j] + q_i * o_grad[j]
            write_sum += grad * found[j]
            found_grad[j] += write_i * grad
        write_grad[i] = write_sum


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _add_read_grads(read: Any, before: Any, found_grad: Any, read_grad: Any, state_grad: Any) -> None:
    """The gradient of what was read, and its part in that of the state before the step."""
    for i in range(len(read)):
        read_i, before_i, grad_i = read[i], before[i], state_grad[i]
        read_sum = _ZERO
        for j in range(len(found_grad)):
            read_sum += before_i[j] * found_grad[j]
            grad_i[j] += read_i * found_grad[j]
        read_grad[i] = read_sum
