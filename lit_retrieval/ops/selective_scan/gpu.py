"""Mamba-1's selective scan in Triton, forward and backward, for CUDA; imported when the first CUDA tensor comes.

One program computes some channels of one sample. It goes through time in chunks; within a chunk, each of the
`state_dim` rows of the state is a parallel scan over time of h_t = a_t h_{t-1} + b_t. The forward keeps the state
before every chunk; the backward computes those of a chunk again, so `(batch, time, state_dim, dim)` is never stored.
States and sums are always float32.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from lit_retrieval.ops.arrays import refuse_to_record

CHUNK = 64  # steps between two kept states
_BLOCK = 32  # channels of a program: the elements of a chunk, 64 * 32, are 16 for each of 128 threads


def selective_scan_gpu(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mamba-1's selective scan in Triton; arguments and results as in `selective_scan`, the state in float32."""
    if state is None:
        state = x.new_zeros(x.shape[0], A.shape[1], A.shape[0], dtype=torch.float32)
    y, last_state = _SelectiveScan.apply(  # type: ignore[no-untyped-call]
        x.contiguous(), dt.contiguous(), A.t().contiguous(), B.contiguous(), C.contiguous(), state.contiguous()
    )
    return y, last_state


class _SelectiveScan(torch.autograd.Function):
    """The scan with gradients of all inputs; `A_t` is `(state_dim, dim)`, the others as in `selective_scan`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, A_t: Tensor, B: Tensor, C: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        batch, time, dim = x.shape
        state_dim = len(A_t)
        y, last_state = torch.empty_like(x), torch.empty_like(state, dtype=torch.float32)
        checkpoints = x.new_empty(batch, triton.cdiv(time, CHUNK), state_dim, dim, dtype=torch.float32)
        _forward_kernel[batch, triton.cdiv(dim, _BLOCK)](
            x, dt, A_t, B, C, state, y, last_state, checkpoints, time, dim,
            STATE_DIM=state_dim, ROWS=triton.next_power_of_2(state_dim), CHUNK=CHUNK, BLOCK=_BLOCK,
        )  # fmt: skip
        ctx.save_for_backward(x, dt, A_t, B, C, state, checkpoints)
        ctx.set_materialize_grads(False)
        return y, last_state

    @staticmethod
    def backward(ctx: Any, *output_grads: Tensor | None) -> tuple[Tensor, ...]:
        refuse_to_record((*ctx.saved_tensors, *output_grads))
        x, dt, A_t, B, C, state, checkpoints = ctx.saved_tensors
        batch, time, dim = x.shape
        state_dim, blocks = len(A_t), triton.cdiv(dim, _BLOCK)
        y_grad, last_state_grad = output_grads
        y_grad = torch.zeros_like(x) if y_grad is None else y_grad.contiguous()
        h_grad = torch.zeros_like(checkpoints[:, 0]) if last_state_grad is None else last_state_grad.contiguous()
        x_grad, dt_grad, state_grad = torch.empty_like(x), torch.empty_like(dt), torch.empty_like(state)
        # PyTorch sums over samples and over blocks of channels: without atomics, the same bits every time.
        A_grad = torch.empty_like(checkpoints[:, 0])
        B_grad, C_grad = (x.new_empty(blocks, batch, time, state_dim, dtype=torch.float32) for _ in range(2))
        _backward_kernel[batch, blocks](
            x, dt, A_t, B, C, checkpoints, y_grad, h_grad,
            x_grad, dt_grad, A_grad, B_grad, C_grad, state_grad, batch, time, dim,
            STATE_DIM=state_dim, ROWS=triton.next_power_of_2(state_dim), CHUNK=CHUNK, BLOCK=_BLOCK,
        )  # fmt: skip
        return (
            x_grad, dt_grad, A_grad.sum(0).to(A_t.dtype), B_grad.sum(0).to(B.dtype), C_grad.sum(0).to(C.dtype),
            state_grad,
        )  # fmt: skip


@triton.jit
def _then(a_1, b_1, a_2, b_2):  # type: ignore[no-untyped-def]
    """The step h -> a_1 h + b_1 followed by h -> a_2 h + b_2, as one step."""
    return a_1 * a_2, a_2 * b_1 + b_2


@triton.jit  # type: ignore[untyped-decorator]
def _scan(decays, added, first, REVERSE: tl.constexpr):  # type: ignore[no-untyped-def]
    """All h_t = decays_t h_{t-1} + added_t of a chunk, from `first (channels,)` on or, reversed, back from it."""
    decays, sums = tl.associative_scan((decays, added), 0, _then, reverse=REVERSE)
    return decays * first[None, :] + sums


@triton.jit
def _load(pointers, mask):  # type: ignore[no-untyped-def]
    """Elements as float32; 0 where the mask is false."""
    return tl.load(pointers, mask=mask, other=0.0).to(tl.float32)


@triton.jit  # type: ignore[untyped-decorator]
def _get_row(h, n, ROWS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Row n of h, `(rows, channels)`."""
    return tl.sum(tl.where(tl.arange(0, ROWS)[:, None] == n, h, 0.0), 0)


@triton.jit  # type: ignore[untyped-decorator]
def _set_row(h, n, row, ROWS: tl.constexpr):  # type: ignore[no-untyped-def]
    """The rows h with `row (channels,)` in row n."""
    return tl.where(tl.arange(0, ROWS)[:, None] == n, row[None, :], h)


@triton.jit  # type: ignore[untyped-decorator]
def _forward_kernel(  # type: ignore[no-untyped-def]
    x, dt, A, B, C, state, y, last_state, checkpoints, time, dim,
    STATE_DIM: tl.constexpr, ROWS: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64)
    channels = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    rows, steps = tl.arange(0, ROWS), tl.arange(0, CHUNK)
    is_channel = channels < dim
    of_state = rows[:, None] * dim + channels[None, :]
    is_state = (rows < STATE_DIM)[:, None] & is_channel[None, :]
    h = _load(state + b * STATE_DIM * dim + of_state, is_state)
    chunks = tl.cdiv(time, CHUNK)
    for chunk in range(chunks):
        tl.store(checkpoints + (b * chunks + chunk) * STATE_DIM * dim + of_state, h, mask=is_state)
        t = chunk * CHUNK + steps
        is_step = t < time
        is_element = is_step[:, None] & is_channel[None, :]
        of_x = (b * time + t[:, None]) * dim + channels[None, :]
        # Steps beyond the end have dt = 0: they neither decay nor add, and the state passes through them.
        dt_t = _load(dt + of_x, is_element)
        inflow = dt_t * _load(x + of_x, is_element)
        total = tl.zeros((CHUNK, BLOCK), tl.float32)
        for n in range(STATE_DIM):
            of_B = (b * time + t) * STATE_DIM + n
            B_n, C_n = _load(B + of_B, is_step), _load(C + of_B, is_step)
            A_n = _load(A + n * dim + channels, is_channel)
            before = _get_row(h, n, ROWS)
            h_n = _scan(tl.exp(dt_t * A_n[None, :]), inflow * B_n[:, None], before, False)
            total += C_n[:, None] * h_n
            h = _set_row(h, n, _get_row(h_n, CHUNK - 1, CHUNK), ROWS)
        tl.store(y + of_x, total.to(y.dtype.element_ty), mask=is_element)
    tl.store(last_state + b * STATE_DIM * dim + of_state, h, mask=is_state)


@triton.jit  # type: ignore[untyped-decorator]
def _backward_kernel(  # type: ignore[no-untyped-def]
    x, dt, A, B, C, checkpoints, y_grad, last_state_grad,
    x_grad, dt_grad, A_grad, B_grad, C_grad, state_grad, batch, time, dim,
    STATE_DIM: tl.constexpr, ROWS: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    b, block = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    channels = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    rows, steps = tl.arange(0, ROWS), tl.arange(0, CHUNK)
    is_channel = channels < dim
    of_state = b * STATE_DIM * dim + rows[:, None] * dim + channels[None, :]
    is_state = (rows < STATE_DIM)[:, None] & is_channel[None, :]
    h_grad = _load(last_state_grad + of_state, is_state)
    A_sum = tl.zeros((ROWS, BLOCK), tl.float32)
    chunks = tl.cdiv(time, CHUNK)
    for back in range(chunks):
        chunk = chunks - 1 - back
        t = chunk * CHUNK + steps
        of_x = (b * time + t[:, None]) * dim + channels[None, :]
        is_element = (t < time)[:, None] & is_channel[None, :]
        x_t, dt_t = _load(x + of_x, is_element), _load(dt + of_x, is_element)
        out_grad = _load(y_grad + of_x, is_element)
        # The gradient of h_t comes back through the next step's decay; after the last step there is none.
        dt_next = _load(dt + of_x + dim, (t + 1 < time)[:, None] & is_channel[None, :])
        inflow_grad, exponent_grad, A_sum, h_grad = _chunk_backward(
            dt_t * x_t, dt_t, dt_next, out_grad, h_grad, A_sum, A + channels,
            B + (b * time + t) * STATE_DIM, C + (b * time + t) * STATE_DIM,
            checkpoints + (b * chunks + chunk) * STATE_DIM * dim + channels,
            B_grad + (block * batch * time + b * time + t) * STATE_DIM,
            C_grad + (block * batch * time + b * time + t) * STATE_DIM, t < time, is_channel, dim,
            STATE_DIM, ROWS, CHUNK, BLOCK,
        )  # fmt: skip
        tl.store(x_grad + of_x, (inflow_grad * dt_t).to(x_grad.dtype.element_ty), mask=is_element)
        tl.store(dt_grad + of_x, (inflow_grad * x_t + exponent_grad).to(dt_grad.dtype.element_ty), mask=is_element)
    dt_0 = _load(dt + b * time * dim + channels, is_channel)
    h_grad = h_grad * tl.exp(dt_0[None, :] * _load(A + rows[:, None] * dim + channels[None, :], is_state))
    tl.store(state_grad + of_state, h_grad.to(state_grad.dtype.element_ty), mask=is_state)
    tl.store(A_grad + of_state, A_sum, mask=is_state)


@triton.jit  # type: ignore[untyped-decorator]
def _chunk_backward(  # type: ignore[no-untyped-def]
    inflow, dt, dt_next, out_grad, h_grad, A_sum, A, B, C, checkpoints, B_grad, C_grad, is_step, is_channel, dim,
    STATE_DIM: tl.constexpr, ROWS: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradients of a chunk's inflows and of dt through exp(dt A), the new sum for A, and the new state gradient."""
    inflow_grad, exponent_grad = tl.zeros((CHUNK, BLOCK), tl.float32), tl.zeros((CHUNK, BLOCK), tl.float32)
    for n in range(STATE_DIM):
        B_n, C_n, A_n = _load(B + n, is_step), _load(C + n, is_step), _load(A + n * dim, is_channel)
        before = _load(checkpoints + n * dim, is_channel)
        added = inflow * B_n[:, None]
        h_n = _scan(tl.exp(dt * A_n[None, :]), added, before, False)
        after = _get_row(h_grad, n, ROWS)
        grad = _scan(tl.exp(dt_next * A_n[None, :]), out_grad * C_n[:, None], after, True)
        tl.store(C_grad + n, tl.sum(out_grad * h_n, 1), mask=is_step)
        tl.store(B_grad + n, tl.sum(grad * inflow, 1), mask=is_step)
        inflow_grad += grad * B_n[:, None]
        product = grad * (h_n - added)  # h_n - added is the decayed state of the step before
        exponent_grad += product * A_n[None, :]
        A_sum += _set_row(tl.zeros((ROWS, BLOCK), tl.float32), n, tl.sum(product * dt, 0), ROWS)
        h_grad = _set_row(h_grad, n, _get_row(grad, 0, CHUNK), ROWS)
    return inflow_grad, exponent_grad, A_sum, h_grad
