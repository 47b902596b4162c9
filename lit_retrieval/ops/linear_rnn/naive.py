"""The linear recurrence of vectors, step by step: the reference."""

import torch
from torch import Tensor


def linear_rnn_naive(u: Tensor, A: Tensor, state: Tensor | None = None) -> Tensor:
    """The recurrence, step by step; arguments and result as in `linear_rnn`."""
    h = torch.zeros_like(u[:, 0]) if state is None else state
    states = []
    for u_t in u.unbind(1):
        h = u_t + (h * A if A.dim() == 1 else h @ A.t())
        states.append(h)
    return torch.stack(states, 1)
