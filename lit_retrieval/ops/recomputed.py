"""Gradients of recurrences in Numba that keep the state of every 16th step, and compute the 16 after it again."""

from typing import Any

import torch
from torch import Tensor

from lit_retrieval.ops.arrays import run_kernel
from lit_retrieval.ops.lanes import widest

CHUNK = 16  # steps between two kept states; the states of 32 columns or channels fit into a core's second-level cache


def recur(forward: Any, backward: Any, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    """The outputs of a recurrence and its last state, with gradients for all tensors.

    Args:
        forward: The kernel `(width, inputs, state, outputs, last_state, checkpoints)`; the state before steps 0, 16,
            ... goes to `checkpoints (..., chunks, rows * columns)` unless there are no chunks.
        backward: The kernel `(width, inputs, checkpoints, outputs_grad, grads, state_grad)`; it adds to `grads`, which
            are zeros, and turns the last state's gradient into the first one's in place.
        tensors: The inputs, then the first state `(batch, ..., rows, columns)`, all contiguous. The first input is
            `(batch, time, ..., columns)`, as the outputs are. An input with one row for all samples has a gradient for
            each sample in `grads`, since samples run in parallel.
    """
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        o, last_state = _Recurrence.apply(forward, backward, *tensors)  # type: ignore[no-untyped-call]
    else:
        o, last_state, _ = _run(forward, False, *tensors)
    return o, last_state


def _run(forward: Any, keeps: bool, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The outputs, the last state, and the states before each chunk, if it `keeps` them."""
    *inputs, state = tensors
    o, last_state = torch.empty_like(inputs[0]), torch.empty_like(state)
    chunks = -(-o.shape[1] // CHUNK) if keeps else 0
    checkpoints = state.new_empty(*state.shape[:-2], chunks, state.shape[-2] * state.shape[-1])
    run_kernel(forward, widest(o.shape[-1]), tuple(inputs), state, o, last_state, checkpoints)
    return o, last_state, checkpoints


class _Recurrence(torch.autograd.Function):
    """The recurrence with gradients for its inputs and the first state."""

    @staticmethod
    def forward(ctx: Any, forward: Any, backward: Any, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        o, last_state, checkpoints = _run(forward, True, *tensors)
        ctx.kernel, ctx.shape = backward, last_state.shape
        ctx.save_for_backward(*tensors[:-1], checkpoints)
        ctx.set_materialize_grads(False)
        return o, last_state

    @staticmethod
    def backward(ctx: Any, *output_grads: Tensor | None) -> tuple[Tensor | None, ...]:
        *inputs, checkpoints = ctx.saved_tensors
        (o_grad, last_state_grad), first = output_grads, inputs[0]
        o_grad = torch.zeros_like(first) if o_grad is None else o_grad.contiguous()
        state_grad = first.new_zeros(ctx.shape)
        if last_state_grad is not None:
            state_grad.copy_(last_state_grad)
        grads = tuple([one.new_zeros(len(first) if len(one) == 1 else len(one), *one.shape[1:]) for one in inputs])
        run_kernel(ctx.kernel, widest(first.shape[-1]), tuple(inputs), checkpoints, o_grad, grads, state_grad)
        summed = (grad.sum_to_size(one.shape) for grad, one in zip(grads, inputs, strict=True))
        return None, None, *summed, state_grad
