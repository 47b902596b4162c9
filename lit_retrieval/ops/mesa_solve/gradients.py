"""Gradients of solutions of linear equations that a kernel finds.

They follow from the equation A x = q. With z = A^{-1} x_grad, which the same kernel finds, the gradient of q is z, and
that of A is -z x^T. The latter flows through A x, a linear recurrence.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def solve_with_gradients(
    solve: Callable[..., Tensor],
    recur: Callable[..., tuple[Tensor, Tensor]],
    q: Tensor,
    k: Tensor,
    log_decay: Tensor,
    rate: Tensor,
    ridge: Tensor,
    state: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The solutions and the last matrix; arguments and results as in `mesa_solve`.

    Args:
        solve: Finds the solutions, without gradients, from all tensors after it.
        recur: `linear_recurrence`, or another form of it.
    """
    if state is None:
        state = q.new_zeros(len(q), *q.shape[2:], q.shape[-1])
    system = k, log_decay, rate, ridge, state
    with torch.no_grad():
        x = solve(q, *system)
    # A recurrence reads its state's transpose, the same matrix with another gradient.
    product, last_state = recur(x, k, k, log_decay, state=state.transpose(2, 3), rate=rate)
    last_state = last_state.transpose(2, 3)
    if not torch.is_grad_enabled():
        return x, last_state
    residual = q - product - ridge * x  # zero but for rounding; its gradients are those of the equation
    solved: Tensor = _Solved.apply(residual, x, solve, *system)  # type: ignore[no-untyped-call]
    return solved, last_state


class _Solved(torch.autograd.Function):
    """The given solution x, as a function of the residual of its equation."""

    @staticmethod
    def forward(ctx: Any, residual: Tensor, x: Tensor, solve: Callable[..., Tensor], *system: Tensor) -> Tensor:
        ctx.solve = solve
        ctx.save_for_backward(*system)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, x_grad: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.solve(x_grad, *ctx.saved_tensors), *7 * [None]
