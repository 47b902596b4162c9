"""Mamba-1's selective scan in Triton, forward and backward, for CUDA; imported when the first CUDA tensor comes.

One program computes some channels of one sample, step by step, with the state in registers. The forward stores the
state before every chunk of steps. The backward processes the chunks from last to first. It recomputes a chunk's states
and stores one before each part of the chunk. Then it processes the parts from last to first, with all of a part's
states in registers. So `(batch, time, state_dim, dim)` is never stored. States and sums are always float32.
"""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from lit_retrieval.ops.arrays import refuse_to_record

CHUNK = 64  # steps between two states that the forward keeps
LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)


class Blocks(NamedTuple):
    """Channels and warps of a program, and the number of steps in a part, whose inputs are in registers together."""

    channels: int
    warps: int
    steps: int


# The fastest of those measured on an H100 (docs/gpu.md). Registers for the states of 8 steps do not suffice in the
# backward; its sums for B and C are over the channels of a program, so few channels mean more sums in memory.
FORWARD, BACKWARD = Blocks(16, 1, 8), Blocks(32, 2, 4)


def selective_scan_gpu(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mamba-1's selective scan in Triton; arguments and results as in `selective_scan`, the state in float32."""
    if state is None:
        state = x.new_zeros(x.shape[0], A.shape[1], A.shape[0], dtype=torch.float32)
    given = [one.contiguous() for one in (x, dt, A.t(), B, C, state)]
    if not (torch.is_grad_enabled() and any(one.requires_grad for one in given)):
        y, last_state, _ = _forward(False, *given)
        return y, last_state
    y, last_state = _SelectiveScan.apply(*given)  # type: ignore[no-untyped-call]
    return y, last_state


def _forward(
    keeps: bool, x: Tensor, dt: Tensor, A_t: Tensor, B: Tensor, C: Tensor, state: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The outputs, the last state and, if it `keeps` them, the states before each chunk."""
    (batch, time, dim), state_dim = x.shape, len(A_t)
    y, last_state = torch.empty_like(x), torch.empty_like(state, dtype=torch.float32)
    checkpoints = x.new_empty(batch, triton.cdiv(time, CHUNK) if keeps else 0, state_dim, dim, dtype=torch.float32)
    _forward_kernel[batch, triton.cdiv(dim, FORWARD.channels)](
        x, dt, A_t, B, C, state, y, last_state, checkpoints, time, dim,
        STATE_DIM=state_dim, ROWS=triton.next_power_of_2(state_dim), CHUNK=CHUNK,
        PART=1 if time == 1 else FORWARD.steps, BLOCK=FORWARD.channels, KEEPS=keeps, num_warps=FORWARD.warps,
    )  # fmt: skip
    return y, last_state, checkpoints


class _SelectiveScan(torch.autograd.Function):
    """The scan with gradients of all inputs; `A_t` is `(state_dim, dim)`, the others as in `selective_scan`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, A_t: Tensor, B: Tensor, C: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        y, last_state, checkpoints = _forward(True, x, dt, A_t, B, C, state)
        ctx.save_for_backward(x, dt, A_t, B, C, state, checkpoints)
        ctx.set_materialize_grads(False)
        return y, last_state

    @staticmethod
    def backward(ctx: Any, *output_grads: Tensor | None) -> tuple[Tensor, ...]:
        refuse_to_record((*ctx.saved_tensors, *output_grads))
        x, dt, A_t, B, C, state, checkpoints = ctx.saved_tensors
        batch, time, dim = x.shape
        state_dim, blocks, rows = len(A_t), triton.cdiv(dim, BACKWARD.channels), triton.next_power_of_2(len(A_t))
        y_grad, last_state_grad = output_grads
        y_grad = torch.zeros_like(x) if y_grad is None else y_grad.contiguous()
        h_grad = torch.zeros_like(checkpoints[:, 0]) if last_state_grad is None else last_state_grad.contiguous()
        x_grad, dt_grad, state_grad = torch.empty_like(x), torch.empty_like(dt), torch.empty_like(state)
        # PyTorch sums over samples and over blocks of channels: without atomics, the same bits every time.
        A_grad = torch.empty_like(checkpoints[:, 0])
        B_grad, C_grad = (x.new_empty(blocks, batch, time, state_dim, dtype=torch.float32) for _ in range(2))
        parts = x.new_empty(batch, blocks, CHUNK // BACKWARD.steps, rows, BACKWARD.channels, dtype=torch.float32)
        _backward_kernel[batch, blocks](
            x, dt, A_t, B, C, checkpoints, y_grad, h_grad, parts,
            x_grad, dt_grad, A_grad, B_grad, C_grad, state_grad, batch, time, dim,
            STATE_DIM=state_dim, ROWS=rows, CHUNK=CHUNK, PART=BACKWARD.steps, BLOCK=BACKWARD.channels,
            num_warps=BACKWARD.warps,
        )  # fmt: skip
        return (
            x_grad, dt_grad, A_grad.sum(0).to(A_t.dtype), B_grad.sum(0).to(B.dtype), C_grad.sum(0).to(C.dtype),
            state_grad,
        )  # fmt: skip


@triton.jit
def _load(pointers, mask):  # type: ignore[no-untyped-def]
    """Elements as float32; 0 where the mask is false."""
    return tl.load(pointers, mask=mask, other=0.0).to(tl.float32)


@triton.jit  # type: ignore[untyped-decorator]
def _load_steps(pointers, first, time, width, is_inside, PART: tl.constexpr):  # type: ignore[no-untyped-def]
    """The vectors of a part's steps, `width` elements apart; zeros beyond the last step."""
    loaded = ()
    for i in tl.static_range(PART):
        loaded += (_load(pointers + (first + i) * width, is_inside & (first + i < time)),)  # type: ignore[assignment]
    return loaded


@triton.jit  # type: ignore[untyped-decorator]
def _forward_kernel(  # type: ignore[no-untyped-def]
    x, dt, A, B, C, state, y, last_state, checkpoints, time, dim,
    STATE_DIM: tl.constexpr, ROWS: tl.constexpr, CHUNK: tl.constexpr, PART: tl.constexpr, BLOCK: tl.constexpr,
    KEEPS: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64)
    channels, rows = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, ROWS)
    is_channel, is_row = channels < dim, rows < STATE_DIM
    of_state, is_state = rows[:, None] * dim + channels[None, :], is_row[:, None] & is_channel[None, :]
    of_x, of_B = b * time * dim + channels, b * time * STATE_DIM + rows
    A_2 = _load(A + of_state, is_state) * LOG2_E
    h = _load(state + b * STATE_DIM * dim + of_state, is_state)
    for first in range(0, time, PART):
        if KEEPS and first % CHUNK == 0:
            kept = (b * tl.cdiv(time, CHUNK) + first // CHUNK) * STATE_DIM * dim
            tl.store(checkpoints + kept + of_state, h, mask=is_state)
        # All inputs of a part are on their way before the first is used.
        dts = _load_steps(dt + of_x, first, time, dim, is_channel, PART)
        xs = _load_steps(x + of_x, first, time, dim, is_channel, PART)
        Bs = _load_steps(B + of_B, first, time, STATE_DIM, is_row, PART)
        Cs = _load_steps(C + of_B, first, time, STATE_DIM, is_row, PART)
        for i in tl.static_range(PART):
            # Steps beyond the end have dt = 0: they neither decay nor add, and the state passes through them.
            h = tl.exp2(dts[i][None, :] * A_2) * h + Bs[i][:, None] * (dts[i] * xs[i])[None, :]
            out = tl.sum(Cs[i][:, None] * h, 0).to(y.dtype.element_ty)
            tl.store(y + of_x + (first + i) * dim, out, mask=is_channel & (first + i < time))
    tl.store(last_state + b * STATE_DIM * dim + of_state, h, mask=is_state)


@triton.jit  # type: ignore[untyped-decorator]
def _backward_kernel(  # type: ignore[no-untyped-def]
    x, dt, A, B, C, checkpoints, y_grad, last_state_grad, parts,
    x_grad, dt_grad, A_grad, B_grad, C_grad, state_grad, batch, time, dim,
    STATE_DIM: tl.constexpr, ROWS: tl.constexpr, CHUNK: tl.constexpr, PART: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    b, block = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    channels, rows = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, ROWS)
    is_channel, is_row = channels < dim, rows < STATE_DIM
    of_state, is_state = rows[:, None] * dim + channels[None, :], is_row[:, None] & is_channel[None, :]
    of_part = rows[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    of_x, of_B = b * time * dim + channels, b * time * STATE_DIM + rows
    parts += (b * tl.num_programs(1) + block) * (CHUNK // PART) * ROWS * BLOCK
    B_grad += block * batch * time * STATE_DIM + of_B
    C_grad += block * batch * time * STATE_DIM + of_B
    A_2 = _load(A + of_state, is_state) * LOG2_E
    h_grad = _load(last_state_grad + b * STATE_DIM * dim + of_state, is_state)
    A_sum = tl.zeros((ROWS, BLOCK), tl.float32)
    chunks = tl.cdiv(time, CHUNK)
    for back in range(chunks):
        start = (chunks - 1 - back) * CHUNK
        count = tl.cdiv(tl.minimum(CHUNK, time - start), PART)
        h = _load(checkpoints + (b * chunks + chunks - 1 - back) * STATE_DIM * dim + of_state, is_state)
        for part in range(count):
            tl.store(parts + part * ROWS * BLOCK + of_part, h)
            first = start + part * PART
            dts = _load_steps(dt + of_x, first, time, dim, is_channel, PART)
            xs = _load_steps(x + of_x, first, time, dim, is_channel, PART)
            Bs = _load_steps(B + of_B, first, time, STATE_DIM, is_row, PART)
            for i in tl.static_range(PART):
                h = tl.exp2(dts[i][None, :] * A_2) * h + Bs[i][:, None] * (dts[i] * xs[i])[None, :]
        tl.debug_barrier()  # other threads may have stored what a thread reads
        for behind in range(count):
            part = count - 1 - behind
            h_grad, A_sum = _part_backward(
                x + of_x, dt + of_x, A_2, B + of_B, C + of_B, tl.load(parts + part * ROWS * BLOCK + of_part),
                y_grad + of_x, h_grad, A_sum, x_grad + of_x, dt_grad + of_x, B_grad, C_grad, start + part * PART,
                time, dim, is_channel, is_row, STATE_DIM, PART,
            )  # fmt: skip
        tl.debug_barrier()
    tl.store(state_grad + b * STATE_DIM * dim + of_state, h_grad.to(state_grad.dtype.element_ty), mask=is_state)
    tl.store(A_grad + b * STATE_DIM * dim + of_state, A_sum, mask=is_state)


@triton.jit  # type: ignore[untyped-decorator]
def _part_backward(  # type: ignore[no-untyped-def]
    x, dt, A_2, B, C, h, y_grad, h_grad, A_sum, x_grad, dt_grad, B_grad, C_grad, first, time, dim, is_channel, is_row,
    STATE_DIM: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Store a part's gradients; returns that of the state before it, and the new sum for A.

    `h` is the state before the part, and `h_grad` the gradient of the state after it.
    """
    dts = _load_steps(dt, first, time, dim, is_channel, PART)
    xs = _load_steps(x, first, time, dim, is_channel, PART)
    Bs = _load_steps(B, first, time, STATE_DIM, is_row, PART)
    Cs = _load_steps(C, first, time, STATE_DIM, is_row, PART)
    out_grads = _load_steps(y_grad, first, time, dim, is_channel, PART)
    decays, states = (), (h,)
    for i in tl.static_range(PART):
        decays += (tl.exp2(dts[i][None, :] * A_2),)  # type: ignore[assignment]
        h = decays[i] * h + Bs[i][:, None] * (dts[i] * xs[i])[None, :]
        states += (h,)  # type: ignore[assignment]
    for i in tl.static_range(PART - 1, -1, -1):
        is_step = first + i < time
        inside, of_row = is_channel & is_step, is_row & is_step
        tl.store(C_grad + (first + i) * STATE_DIM, tl.sum(out_grads[i][None, :] * states[i + 1], 1), mask=of_row)
        h_grad += Cs[i][:, None] * out_grads[i][None, :]
        tl.store(B_grad + (first + i) * STATE_DIM, tl.sum(h_grad * (dts[i] * xs[i])[None, :], 1), mask=of_row)
        inflow_grad = tl.sum(h_grad * Bs[i][:, None], 0)
        h_grad *= decays[i]
        product = h_grad * states[i]
        A_sum += product * dts[i][None, :]
        exponent_grad = tl.sum(product * A_2, 0) * LN_2
        step_grad = (inflow_grad * xs[i] + exponent_grad).to(dt_grad.dtype.element_ty)
        tl.store(x_grad + (first + i) * dim, (inflow_grad * dts[i]).to(x_grad.dtype.element_ty), mask=inside)
        tl.store(dt_grad + (first + i) * dim, step_grad, mask=inside)
    return h_grad, A_sum
