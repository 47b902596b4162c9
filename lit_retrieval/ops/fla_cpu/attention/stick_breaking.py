"""Stick-breaking attention on a CPU (arXiv:2410.17980)."""

from functools import partial

from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.errors import UserError
from lit_retrieval.ops.fla_cpu.attention.parts import by_parts, in_groups, out_of_groups, shared, visible
from lit_retrieval.ops.half_precision import in_float32


def parallel_stickbreaking_attn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    attend_current: bool = False,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Query i gives key j the weight sigmoid(z_ij) times 1 - sigmoid(z_il) for each visible l after j; z = scale q k.

    A query sees the keys before its own step, and its own with `attend_current`. Any precision will do; fla's kernel
    takes half precision only.

    Args:
        q: `(batch, time, heads of queries, key_dim)`.
        k: `(batch, time, heads, key_dim)`.
        v: `(batch, time, heads, value_dim)`.

    Returns:
        The outputs, and what the weights of each query lack to one, `(batch, time, heads of queries)`.
    """
    if q.shape[:2] != k.shape[:2]:
        raise UserError(f"q and k must have the same steps, got {tuple(q.shape[:2])} and {tuple(k.shape[:2])}")
    attend = partial(_attend, scale=scale, attend_current=attend_current)
    o, rest = by_parts(attend, (q,), (k, v), cu_seqlens)
    return o, rest.to(q.dtype)


@in_float32
def _attend(q: Tensor, k: Tensor, v: Tensor, scale: float | None, attend_current: bool) -> tuple[Tensor, Tensor]:
    steps, heads, dim = k.shape[1:]
    scores = in_groups(q, heads) * (dim**-0.5 if scale is None else scale) @ shared(k).mT
    mask = visible(steps, steps, device=q.device).tril(0 if attend_current else -1)
    log_rest = F.logsigmoid(-scores).masked_fill(~mask, 0)  # what each key leaves of the stick
    log_after = log_rest.flip(-1).cumsum(-1).flip(-1) - log_rest
    weights = (F.logsigmoid(scores) + log_after).exp().masked_fill(~mask, 0)
    return out_of_groups(weights @ shared(v)), out_of_groups(log_rest.sum(-1).exp())
