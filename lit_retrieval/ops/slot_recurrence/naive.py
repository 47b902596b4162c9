"""The slot recurrence in plain PyTorch, step by step: the reference, for any device and dtype."""

import torch
from torch import Tensor


def slot_recurrence_naive(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The recurrence, step by step; arguments and results as in `slot_recurrence`."""
    if state is None:
        state = v.new_zeros(*q.shape[::2], q.shape[3], v.shape[3])
    outputs = []
    for q_t, k_t, v_t, decay in zip(*(one.unbind(1) for one in (q, k, v, log_decay.exp())), strict=True):
        state = decay.unsqueeze(-2) * state + k_t.unsqueeze(-1) * v_t.unsqueeze(-2)
        outputs.append((q_t.unsqueeze(-2) @ state).squeeze(-2))
    return torch.stack(outputs, 1), state
