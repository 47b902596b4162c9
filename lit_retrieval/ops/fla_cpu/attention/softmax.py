"""fla's softmax attention on a CPU: with decays between positions, windows and sinks, and one step of decoding."""

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.errors import UserError
from lit_retrieval.ops.fla_cpu.attention.parts import by_parts, visible
from lit_retrieval.ops.half_precision import in_float32


def parallel_attn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    scale: float | None = None,
    window_size: int | None = None,
    cu_seqlens: Tensor | None = None,
    *,
    sink_bias: Tensor | None = None,
) -> Tensor:
    """Causal attention; g is the log decay of each step, as in the forgetting transformer (arXiv:2503.02130).

    Args:
        q: Queries, `(batch, time, heads of queries, key_dim)`.
        k: Keys, `(batch, time, heads, key_dim)`.
        v: Values, `(batch, time, heads, value_dim)`.
        g: `(batch, time, heads of queries)`; a score gets the sum of g after the key's step up to the query's.
        scale: What multiplies q k; by default `key_dim ** -0.5`.
        window_size: The number of keys that each query sees, its own included.
        cu_seqlens: Where each part of the one row begins, and the row's end.
        sink_bias: One more score for each head of queries, whose value is zero.
    """

    def attend(q: Tensor, k: Tensor, v: Tensor, g: Tensor | None) -> tuple[Tensor]:
        return softmax_attention(q, k, v, g, scale=scale, window=window_size, sink=sink_bias)

    return by_parts(attend, (q,), (k, v, g), cu_seqlens)[0]


def parallel_forgetting_attn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    scale: float | None = None,
    window_size: int | None = None,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """`parallel_attn` with decays."""
    return parallel_attn(q, k, v, g, scale, window_size, cu_seqlens)


def attn_decoding_one_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    scale: float | None = None,
    cu_seqlens: Tensor | None = None,
    do_gate_scale: bool = False,
    *,
    window_size: int | None = None,
    sink_bias: Tensor | None = None,
) -> Tensor:
    """The last query of each of several sequences, q `(1, sequences, heads, dim)`, to keys packed into one row.

    With `do_gate_scale`, `scale` multiplies g too.
    """
    if cu_seqlens is None:
        raise UserError("cu_seqlens must be given: where the keys of each sequence begin, and their end")
    if do_gate_scale and g is not None:
        g = g * (k.shape[-1] ** -0.5 if scale is None else scale)

    def attend(q: Tensor, k: Tensor, v: Tensor, g: Tensor | None) -> tuple[Tensor]:
        return softmax_attention(q, k, v, g, scale=scale, window=window_size, sink=sink_bias)

    return by_parts(attend, (q,), (k, v, g), (torch.arange(q.shape[1] + 1), cu_seqlens))[0]


@in_float32
def softmax_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    *,
    scale: float | None = None,
    window: int | None = None,
    is_real: Tensor | None = None,
    sink: Tensor | None = None,
) -> tuple[Tensor]:
    """Attention of queries, the last of the keys' steps, as in `parallel_attn`.

    `is_real (batch, keys)` is False for keys of padding; the outputs of queries of padding are zero.
    """
    if k.shape[2] == 0 or q.shape[2] % k.shape[2]:
        raise UserError(f"the heads of q must be a multiple of k's, got {q.shape[2]} and {k.shape[2]}")
    queries, keys, heads = q.shape[1], k.shape[1], q.shape[2]
    is_plain = g is None and window is None and is_real is None and sink is None
    mask: Tensor | None = None
    if not (is_plain and queries in (1, keys)):
        mask = visible(queries, keys, window, q.device).expand(1, 1, -1, -1)
    if is_real is not None and mask is not None:
        mask = mask & is_real[:, None, None] & is_real[:, None, keys - queries :, None]
    if g is not None or sink is not None:
        assert mask is not None
        scores = q.new_zeros(1) if g is None else _decays(g.to(q.dtype), queries)
        mask = scores.masked_fill(~mask, -torch.inf).expand(-1, heads, -1, -1)
    if sink is not None:
        assert mask is not None
        k, v = (F.pad(one, (0, 0, 0, 0, 0, 1)) for one in (k, v))
        mask = torch.cat([mask, sink.to(q.dtype).view(1, -1, 1, 1).expand(*mask.shape[:-1], 1)], -1)
    q, k, v = (one.transpose(1, 2) for one in (q, k, v))
    is_causal, is_grouped = is_plain and 1 < queries == keys, heads != k.shape[1]
    o = F.scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal, scale=scale, enable_gqa=is_grouped)
    return (o.transpose(1, 2),)


def _decays(g: Tensor, queries: int) -> Tensor:
    """The sum of g after each key's step up to each query's, `(batch, heads, queries, keys)`."""
    total = g.cumsum(1).transpose(1, 2)
    return total[..., -queries:, None] - total[..., None, :]
