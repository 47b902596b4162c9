"""A linear recurrence of vectors with a constant transition, and the choice of its implementation."""

import torch
from torch import Tensor

from lit_retrieval.ops.half_precision import widen
from lit_retrieval.ops.linear_rnn.doubling import linear_rnn_doubling
from lit_retrieval.ops.linear_rnn.naive import linear_rnn_naive
from lit_retrieval.ops.shapes import check_shape

__all__ = ["linear_rnn", "linear_rnn_doubling", "linear_rnn_naive"]


def linear_rnn(u: Tensor, A: Tensor, state: Tensor | None = None) -> Tensor:
    """The states of a linear recurrence.

    h_t = A h_{t-1} + u_t  (Wen et al. 2024, arXiv:2402.18510, Definition 3.4, with u_t = B x_t).

    Args:
        u: What each step adds, `(batch, time, dim)`.
        A: The transition, `(dim, dim)`, or its diagonal, `(dim,)`.
        state: The state h before the first step, `(batch, dim)`; zeros if absent.

    Returns:
        The state after every step, shaped like `u`; float32 for half precision.
    """
    batch, time, dim = u.shape
    if time < 1:
        raise ValueError(f"u must have at least one step, got shape {tuple(u.shape)}")
    check_shape("A", A, (dim,) * A.dim())
    check_shape("state", state, (batch, dim))
    # On a GPU many small kernels take long; on a CPU the log2(time) times as many products do.
    run = linear_rnn_naive if u.is_cpu else linear_rnn_doubling
    with torch.autocast(u.device.type, enabled=False):  # what is added up in bfloat16 would stop at 256
        return run(widen(u), widen(A), widen(state))
