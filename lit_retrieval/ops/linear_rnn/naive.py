"""The linear recurrence of vectors, step by step: the reference."""

import torch
from torch import Tensor


def linear_rnn_naive(u: Tensor, A: Tensor, state: Tensor | None = None) -> Tensor:
    """The recurrence, step by step; arguments and result as in `linear_rnn`."""
    h = torch.zeros_like(u[:, 0]) if state is None else state
    states = []
    transitions = A.unbind(1) if A.dim() == 3 else [A] * u.shape[1]
    for u_t, A_t in zip(u.unbind(1), transitions, strict=True):
        h = u_t + (h @ A_t.t() if A.dim() == 2 else h * A_t)
        states.append(h)
    return torch.stack(states, 1)
