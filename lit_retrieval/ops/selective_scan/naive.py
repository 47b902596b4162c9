"""Mamba-1's selective scan in plain PyTorch, one step at a time: the reference, for any device and dtype."""

import torch
from torch import Tensor


def selective_scan_naive(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mamba-1's selective scan, step by step; arguments and results as in `selective_scan`."""
    if state is None:
        state = x.new_zeros(x.shape[0], A.shape[1], A.shape[0])
    outputs = []
    # Under autograd `x[:, t]` allocates a gradient of the size of x in every step; `unbind` allocates one in all.
    for x_t, dt_t, B_t, C_t in zip(x.unbind(1), dt.unbind(1), B.unbind(1), C.unbind(1), strict=True):
        decay = torch.exp(dt_t.unsqueeze(1) * A.t())  # (batch, state_dim, dim)
        state = decay * state + B_t.unsqueeze(2) * (dt_t * x_t).unsqueeze(1)
        outputs.append((C_t.unsqueeze(2) * state).sum(1))
    return torch.stack(outputs, 1), state
