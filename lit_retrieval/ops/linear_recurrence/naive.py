"""The matrix-valued linear recurrence in plain PyTorch, one step at a time: any device, any dtype, its meaning."""

import torch
from torch import Tensor


def linear_recurrence_naive(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    read: Tensor | None = None,
    write: Tensor | None = None,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The recurrence, step by step; arguments and results as in `linear_recurrence`."""
    batch, time, heads, key_dim = q.shape
    if state is None:
        state = q.new_zeros(batch, heads, key_dim, v.shape[-1])
    # Under autograd `q[:, t]` would cost a gradient as long as q in every step; `unbind` has one for all of them.
    decays = [None] * time if log_decay is None else log_decay.exp().unbind(1)
    reads = [None] * time if read is None else read.unbind(1)
    writes = [None] * time if write is None else write.unbind(1)
    outputs = []
    for q_t, k_t, v_t, decay, a, b in zip(q.unbind(1), k.unbind(1), v.unbind(1), decays, reads, writes, strict=True):
        before = state
        state = _outer(k_t, v_t) + (before if decay is None else decay.unsqueeze(-1) * before)
        if a is not None and b is not None:
            state = state + _outer(b, _product(a, before))
        outputs.append(_product(q_t, state))
    return torch.stack(outputs, 1), state


def _outer(k: Tensor, v: Tensor) -> Tensor:
    return k.unsqueeze(-1) * v.unsqueeze(-2)


def _product(q: Tensor, state: Tensor) -> Tensor:
    """The state's rows weighted by q, `(batch, heads, value_dim)`."""
    return (q.unsqueeze(-2) @ state).squeeze(-2)
