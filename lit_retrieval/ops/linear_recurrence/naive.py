"""The matrix-valued linear recurrence in plain PyTorch, step by step: the reference, for any device and dtype."""

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
    rate: Tensor | None = None,
    skip: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The recurrence, step by step; arguments and results as in `linear_recurrence`."""
    batch, time, heads, value_dim = v.shape
    q, k, written = for_each_head(q, k, v, rate)
    if state is None:
        state = v.new_zeros(batch, heads, q.shape[-1], value_dim)
    # Under autograd `q[:, t]` allocates a gradient of the size of q in every step; `unbind` allocates one in all.
    decays = [None] * time if log_decay is None else log_decay.exp().unbind(1)
    reads = [None] * time if read is None else read.unbind(1)
    writes = [None] * time if write is None else write.unbind(1)
    outputs = []
    for q_t, k_t, v_t, decay, a, b in zip(*(x.unbind(1) for x in (q, k, written)), decays, reads, writes, strict=True):
        before = state
        state = _outer(k_t, v_t) + (before if decay is None else decay.unsqueeze(-1) * before)
        if a is not None and b is not None:
            state = state + _outer(b, _product(a, before))
        outputs.append(_product(q_t, state))
    o = torch.stack(outputs, 1)
    return o if skip is None else o + skip * v, state


def for_each_head(q: Tensor, k: Tensor, v: Tensor, rate: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys repeated for each head that shares them, and values times their rate."""
    sharing = v.shape[2] // q.shape[2]
    q, k = (tensor if sharing == 1 else tensor.repeat_interleave(sharing, 2) for tensor in (q, k))
    return q, k, v if rate is None else rate * v


def _outer(k: Tensor, v: Tensor) -> Tensor:
    return k.unsqueeze(-1) * v.unsqueeze(-2)


def _product(q: Tensor, state: Tensor) -> Tensor:
    """The state's rows weighted by q, `(batch, heads, value_dim)`."""
    return (q.unsqueeze(-2) @ state).squeeze(-2)
