"""Wall attention on a CPU: softmax attention in which each channel of a key decays by itself (fla.ops.wall_attn)."""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.errors import UserError
from lit_retrieval.ops.fla_cpu.attention.parts import by_parts, log_sum_exp, visible, weights_of
from lit_retrieval.ops.half_precision import in_float32, widen

_BLOCK = 64  # queries, a power of 2
_LN2 = 0.6931471805599453


def parallel_wall_attn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    *,
    g_scalar: Tensor | None = None,
    sink_bias: Tensor | None = None,
    scale: float | None = None,
    window_size: int | None = None,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """Causal attention whose score of query i and key j is the sum over channels of scale q_i k_j exp(G_i - G_j).

    Args:
        q: `(batch, time, heads of queries, key_dim)`.
        k: `(batch, time, heads, key_dim)`.
        v: `(batch, time, heads, value_dim)`.
        g: Log decays, `(batch, time, heads of queries, key_dim)`, at most 0; G is their sum up to a step.
        g_scalar: Log decays of the whole score, which are added to it, `(batch, time, heads of queries)`.
        sink_bias: One more score for each head of queries, whose value is zero.
    """
    attend = partial(wall_attention, sink=sink_bias, scale=scale, window=window_size)
    return by_parts(attend, (q,), (k, v, g, g_scalar), cu_seqlens)[0]


def parallel_wall_attn_decode(
    q: Tensor,
    v: Tensor,
    p_curr: Tensor,
    k_tilde: Tensor,
    r_cache: Tensor,
    sink_bias: Tensor | None,
    scale: float,
    cache_chunk_size: int,
    g_scalar_cumsum: Tensor | None = None,
    window_size: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The last queries of a sequence, from fla's cache, in which keys are scaled by chunks; exponents are of 2.

    Args:
        p_curr: The sum of the log decays at the queries, shaped like q.
        k_tilde: Each key times 2^(its chunk's `r_cache` - its own sum), `(batch, keys, heads of queries, key_dim)`.
        r_cache: The sum of log decays at the first key of each chunk of `cache_chunk_size`.
        g_scalar_cumsum: The sums of the scalar decays at all keys.

    Returns:
        The outputs, and the log2 of each query's sum of exponentials, `(batch, queries, heads of queries)`.
    """
    if k_tilde.shape[1] > r_cache.shape[1] * cache_chunk_size:
        raise UserError(
            f"r_cache must have a row for each {cache_chunk_size} keys, got {r_cache.shape[1]} for {k_tilde.shape[1]}"
        )
    chunks = widen(k_tilde).split(cache_chunk_size, 1)  # type: ignore[no-untyped-call]
    scores = torch.cat(
        [
            torch.einsum("bihd,bjhd->bhij", q * torch.exp2(p_curr - r_cache[:, chunk, None]), keys)
            for chunk, keys in enumerate(chunks)
        ],
        -1,
    )
    scalar = None if g_scalar_cumsum is None else widen(g_scalar_cumsum) * _LN2
    scores, mask = _plus_decays(scores * scale, scalar), visible(q.shape[1], v.shape[1], window_size, q.device)
    sink = None if sink_bias is None else sink_bias.view(-1, 1, 1)
    total = log_sum_exp(scores, mask, sink).transpose(1, 2) / _LN2
    return _answer(scores, widen(v), mask, sink).to(v.dtype), total


@in_float32
def wall_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    g_scalar: Tensor | None = None,
    *,
    sink: Tensor | None = None,
    scale: float | None = None,
    window: int | None = None,
) -> tuple[Tensor]:
    """Attention of queries, the last of the keys' steps, as in `parallel_wall_attn`.

    Computed in blocks of queries: a key before the block decays up to the block's first step, and from there the query
    does. So no exponent is above 0.
    """
    if k.shape[2] == 0 or q.shape[2] % k.shape[2]:
        raise UserError(f"the heads of q must be a multiple of k's, got {q.shape[2]} and {k.shape[2]}")
    queries, first = q.shape[1], k.shape[1] - q.shape[1]
    sink = None if sink is None else sink.view(-1, 1, 1)
    k = k.repeat_interleave(q.shape[2] // k.shape[2], 2) * (k.shape[-1] ** -0.5 if scale is None else scale)
    scalar = None if g_scalar is None else g_scalar.to(q.dtype).cumsum(1)
    size = min(_BLOCK, 1 << (queries - 1).bit_length())
    whole = (0, 0, 0, 0, 0, -queries % size)  # the last block is filled with zeros
    total = F.pad(g.to(q.dtype), whole).cumsum(1)
    q, k, total = (one.transpose(1, 2) for one in (F.pad(q, whole), F.pad(k, whole), total))
    blocks = (one.unflatten(2, (-1, size)) for one in (q, k[:, :, first:], total[:, :, first:]))  # type: ignore[no-untyped-call]
    own = _own_scores(*blocks)
    outputs = []
    for block, start in enumerate(range(0, queries, size)):
        here, end = first + start, first + min(start + size, queries)
        low = 0 if window is None else max(0, here - window + 1)
        anchor = total[:, :, here : here + 1]
        keys = k[:, :, low:here] * (anchor - total[:, :, low:here]).exp()
        past = (q[:, :, start : end - first] * (total[:, :, here:end] - anchor).exp()) @ keys.mT
        scores = torch.cat([past, own[:, :, block, : end - here, : end - here]], -1)
        part = None if scalar is None else scalar[:, low:end]
        mask = visible(end - here, end - low, window, q.device)
        outputs.append(_answer(_plus_decays(scores, part), v[:, low:end], mask, sink))
    return (torch.cat(outputs, 1),)


def _own_scores(q: Tensor, k: Tensor, total: Tensor) -> Tensor:
    """The scores of each block's keys and queries, `(..., size, size)`, zero for keys after a query.

    Halves of a block are blocks themselves; keys of the first half decay up to the second one's first step, and from
    there its queries do. All blocks of a size are computed at once.
    """
    size = q.shape[-2]
    if size == 1:
        return (q * k).sum(-1, keepdim=True)
    halves = [one.unflatten(-2, (2, size // 2)) for one in (q, k, total)]  # type: ignore[no-untyped-call]
    inner = _own_scores(*(one.flatten(-4, -3) for one in halves))
    first, second = inner.unflatten(-3, (-1, 2)).unbind(-3)  # type: ignore[no-untyped-call]
    (_, q), (k, _), (before, after) = (one.unbind(-3) for one in halves)
    anchor = after[..., :1, :]
    across = (q * (after - anchor).exp()) @ (k * (anchor - before).exp()).mT
    return torch.cat([F.pad(first, (0, size // 2)), torch.cat([across, second], -1)], -2)


def _plus_decays(scores: Tensor, scalar: Tensor | None) -> Tensor:
    """Scores `(batch, heads, queries, keys)` plus what a scalar decays between their steps."""
    if scalar is None:
        return scores
    total = scalar.transpose(1, 2)
    return scores + total[..., -scores.shape[2] :, None] - total[..., None, :]


def _answer(scores: Tensor, v: Tensor, is_visible: Tensor, sink: Tensor | None) -> Tensor:
    weights = weights_of(scores, is_visible, sink)
    group = weights.unflatten(1, (v.shape[2], -1))  # type: ignore[no-untyped-call]
    return torch.einsum("bhgij,bjhd->bihgd", group, v).flatten(2, 3)
