"""DeltaFormer on a CPU (arXiv:2505.19488): softmax attention to values that were corrected by a delta rule."""

import torch
from torch import Tensor

from lit_retrieval.errors import UserError
from lit_retrieval.ops.fla_cpu.attention.parts import by_parts, visible, weights_of
from lit_retrieval.ops.fla_cpu.attention.softmax import softmax_attention
from lit_retrieval.ops.half_precision import in_float32


def deltaformer_attn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor | None = None,
    attention_mask: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    C: int = 512,
) -> Tensor:
    """Attention to u, where u_i = v_i - beta_i times the attention of q_i to all u before it.

    Args:
        q, k, v: `(batch, time, heads, dim)`.
        beta: `(batch, time, heads)`; by default 1.
        attention_mask: `(batch, time)`, 0 for padding, which the attention to u skips; u itself does not, as in fla.
        cu_seqlens: Where each part of the one row begins, and the row's end.
        C: The size of fla's chunks, which makes no difference here.

    Raises:
        UserError: If q and k differ in heads, which fla's own kernel refuses too.
    """
    if q.shape[2] != k.shape[2]:
        raise UserError(f"DeltaFormer's q and k must have the same heads, got {q.shape[2]} and {k.shape[2]}")
    return _attend(q, k, v, torch.ones_like(k[..., 0]) if beta is None else beta, attention_mask, cu_seqlens)[0]


@in_float32
def _attend(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, attention_mask: Tensor | None, cu_seqlens: Tensor | None
) -> tuple[Tensor, ...]:
    u = by_parts(_corrected, (v,), (q, k, beta), cu_seqlens)[0]
    if attention_mask is not None:
        return softmax_attention(q, k, u, is_real=attention_mask.bool())
    return by_parts(softmax_attention, (q,), (k, u), cu_seqlens)


def _corrected(v: Tensor, q: Tensor, k: Tensor, beta: Tensor) -> tuple[Tensor]:
    """u, from the unit triangular system (1 + beta P) u = v; P has the weights of the keys before each query."""
    q, k, v = (one.transpose(1, 2) for one in (q, k, v))
    steps, dim = k.shape[2:]
    p = weights_of(q * dim**-0.5 @ k.mT, visible(steps, steps, device=q.device).tril(-1))
    u = torch.linalg.solve_triangular(beta.transpose(1, 2).unsqueeze(-1) * p, v, upper=False, unitriangular=True)
    return (u.transpose(1, 2).contiguous(),)  # packed or not, the same numbers to the last bit
