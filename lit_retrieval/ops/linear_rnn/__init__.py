"""A linear recurrence of vectors, and the choice of its implementation."""

import torch
from torch import Tensor

from lit_retrieval.ops.arrays import runs_on_numba
from lit_retrieval.ops.half_precision import widen
from lit_retrieval.ops.linear_rnn.cpu import linear_rnn_cpu
from lit_retrieval.ops.linear_rnn.doubling import linear_rnn_doubling
from lit_retrieval.ops.linear_rnn.naive import linear_rnn_naive
from lit_retrieval.ops.shapes import check_shape

__all__ = ["linear_rnn", "linear_rnn_cpu", "linear_rnn_doubling", "linear_rnn_naive"]


def linear_rnn(u: Tensor, A: Tensor, state: Tensor | None = None) -> Tensor:
    """The states of a linear recurrence.

    h_t = A h_{t-1} + u_t  (Wen et al. 2024, arXiv:2402.18510, Definition 3.4, with u_t = B x_t). With a diagonal for
    each step it is the recurrence of HGRN (arXiv:2311.04823).

    Args:
        u: What each step adds, `(batch, time, dim)`.
        A: The transition, `(dim, dim)`, or its diagonal, `(dim,)`, or the diagonal of each step, `(batch, time, dim)`.
        state: The state h before the first step, `(batch, dim)`; zeros if absent.

    Returns:
        The state after every step, shaped like `u`; float32 for half precision.
    """
    batch, time, dim = u.shape
    if time < 1:
        raise ValueError(f"u must have at least one step, got shape {tuple(u.shape)}")
    check_shape("A", A, tuple(u.shape) if A.dim() == 3 else (dim,) * A.dim())
    check_shape("state", state, (batch, dim))
    with torch.autocast(u.device.type, enabled=False):  # what is added up in bfloat16 would stop at 256
        return _run(widen(u), widen(A), widen(state))


def _run(u: Tensor, A: Tensor, state: Tensor | None) -> Tensor:
    if A.dim() == 3 and runs_on_numba(u, A, state):
        return linear_rnn_cpu(u, A, state)
    # On a GPU many small kernels take long; on a CPU the log2(time) times as many products do.
    return linear_rnn_naive(u, A, state) if u.is_cpu else linear_rnn_doubling(u, A, state)
