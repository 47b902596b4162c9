"""Native sparse attention on a CPU (arXiv:2502.11089): means of blocks, chosen blocks and a window, mixed by gates.

Scores are computed for all pairs of steps and masked. Groups of queries and block sizes that fla's kernels can't tile
are allowed.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.errors import UserError
from lit_retrieval.ops.fla_cpu.attention.parts import (
    Bounds,
    by_parts,
    in_groups,
    log_sum_exp,
    out_of_groups,
    shared,
    visible,
    weights_of,
)
from lit_retrieval.ops.fla_cpu.attention.softmax import softmax_attention
from lit_retrieval.ops.fla_cpu.sums import mean_pooling
from lit_retrieval.ops.half_precision import in_float32, widen


class _Sizes(NamedTuple):
    block: int
    window: int
    chosen: int  # blocks for each query, if all have as many
    scale: float


def parallel_nsa(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g_cmp: Tensor | None = None,
    g_slc: Tensor | None = None,
    g_swa: Tensor | None = None,
    block_indices: Tensor | None = None,
    block_counts: Tensor | int = 16,
    block_size: int = 64,
    window_size: int = 0,
    scale: float | None = None,
    cu_seqlens: Bounds = None,
) -> Tensor:
    """Attention to means of blocks, to chosen blocks, and to a window of `window_size` keys, each times its gate.

    The queries are the last steps of the keys. In fla `scale` has no part in the window, so it has none here.

    Args:
        q: `(batch, queries, heads of queries, key_dim)`.
        k: `(batch, keys, heads, key_dim)`.
        v: `(batch, keys, heads, value_dim)`.
        g_cmp, g_slc, g_swa: The gates, `(batch, queries, heads of queries)`; without `g_cmp` there are no means.
        block_indices: The blocks, `(batch, queries, heads, count)`, -1 for none; by default as
            `parallel_nsa_topk` chooses them.
        block_counts: How many of the blocks each query sees, as a number or `(batch, queries, heads)`.
        cu_seqlens: Where each part of the one row begins, and its end; a pair if queries and keys differ.
    """
    if block_indices is None and g_cmp is None:
        raise UserError("block_indices must be given if g_cmp is not: blocks are chosen by the scores of their means")
    if window_size > 0 and g_swa is None:
        raise UserError(f"g_swa, the window's gate, must be given for window_size={window_size}")
    counts, chosen = _counts(block_counts)
    sizes = _Sizes(block_size, window_size, chosen, k.shape[-1] ** -0.5 if scale is None else scale)
    queries = (q, g_cmp, g_slc, g_swa, block_indices, counts)
    return by_parts(partial(_attend, sizes), queries, (k, v), cu_seqlens)[0]


def parallel_nsa_compression(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    TK: int,
    block_size: int = 64,
    scale: float | None = None,
    cu_seqlens: Bounds = None,
) -> tuple[Tensor, Tensor]:
    """The attention to means of blocks, `k` and `v (batch, blocks, heads, dim)`, of `TK` keys; and its log-sum-exp."""
    sizes = _Sizes(block_size, 0, 0, k.shape[-1] ** -0.5 if scale is None else scale)
    o, total = _by_blocks(partial(_attend_to_means, sizes), q, (k, v), TK, block_size, cu_seqlens)
    return o, total


def parallel_nsa_topk(
    q: Tensor,
    k: Tensor,
    TK: int,
    lse: Tensor | None,
    block_counts: Tensor | int,
    block_size: int = 64,
    scale: float | None = None,
    cu_seqlens: Bounds = None,
) -> Tensor:
    """The blocks of each query, by the scores of k, the means of `TK` keys; `(batch, queries, heads, count)`, or -1.

    The query's own block, the one before and the first one come first, then those of the largest weights. `lse` is
    computed again.
    """
    _, chosen = _counts(block_counts)
    sizes = _Sizes(block_size, 0, chosen, k.shape[-1] ** -0.5 if scale is None else scale)
    return _by_blocks(partial(_choose, sizes), q, (k,), TK, block_size, cu_seqlens)[0]


def parallel_nsa_fwd(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    block_indices: Tensor,
    block_counts: Tensor | int,
    block_size: int,
    scale: float,
    cu_seqlens_q: Tensor | None = None,
    cu_seqlens_k: Tensor | None = None,
    token_indices_q: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The attention to chosen blocks, and its log-sum-exp, `(batch, queries, heads of queries)`.

    `token_indices_q` follow from `cu_seqlens_q`.
    """
    counts, chosen = _counts(block_counts)
    bounds = None if cu_seqlens_q is None or cu_seqlens_k is None else (cu_seqlens_q, cu_seqlens_k)
    attend = partial(_attend_to_chosen, _Sizes(block_size, 0, chosen, scale))
    o, total = by_parts(attend, (q, block_indices, counts), (k, v), bounds)
    return o, total


def _counts(block_counts: Tensor | int) -> tuple[Tensor | None, int]:
    """How many blocks each query sees, and how many are chosen: the next power of two, as in fla's kernel."""
    most = block_counts if isinstance(block_counts, int) else int(block_counts.max())
    return None if isinstance(block_counts, int) else block_counts, 1 << (most - 1).bit_length()


def _by_blocks(
    attend: Callable[..., tuple[Tensor, ...]],
    q: Tensor,
    blocks: tuple[Tensor, ...],
    keys: int,
    size: int,
    cu_seqlens: Bounds,
) -> tuple[Tensor, ...]:
    """As `by_parts`, for tensors that have a step for each block of keys; a part begins with a block of its own."""
    if cu_seqlens is None:
        return attend(q, *blocks, keys)
    both = cu_seqlens if isinstance(cu_seqlens, tuple) else (cu_seqlens, cu_seqlens)
    q_lengths, k_lengths = (bounds.diff().tolist() for bounds in both)
    parts = (torch.split(one, [-(-length // size) for length in k_lengths], 1) for one in blocks)
    results = [attend(*part) for part in zip(torch.split(q, q_lengths, 1), *parts, k_lengths, strict=True)]
    return tuple(torch.cat(one, 1) for one in zip(*results, strict=True))


@in_float32
def _attend(
    sizes: _Sizes,
    q: Tensor,
    g_cmp: Tensor | None,
    g_slc: Tensor | None,
    g_swa: Tensor | None,
    block_indices: Tensor | None,
    counts: Tensor | None,
    k: Tensor,
    v: Tensor,
) -> tuple[Tensor]:
    """All three kinds for rows of queries and keys."""
    keys, parts = k.shape[1], []
    if g_cmp is not None:
        key_means, value_means = mean_pooling(k, sizes.block), mean_pooling(v, sizes.block)
        parts.append(_answer(_score_means(sizes, q, key_means, keys), value_means) * g_cmp.unsqueeze(-1))
        if block_indices is None:
            block_indices = _choose(sizes, q, key_means, keys)[0]
    assert block_indices is not None
    chosen = _answer(_score_chosen(sizes, q, block_indices, counts, k), v)
    parts.append(chosen if g_slc is None else chosen * g_slc.unsqueeze(-1))
    if g_swa is not None and sizes.window > 0:
        parts.append(softmax_attention(q, k, v, window=sizes.window)[0] * g_swa.unsqueeze(-1))
    return (sum(parts[1:], start=parts[0]),)


def _steps(queries: int, keys: int, device: torch.device) -> Tensor:
    """The step of each query, a column: they are the last of the keys."""
    return torch.arange(keys - queries, keys, device=device).unsqueeze(-1)


def _score_means(sizes: _Sizes, q: Tensor, k: Tensor, keys: int) -> tuple[Tensor, Tensor]:
    """Each query's scores of the blocks, and whether they end at its own step or before it."""
    ends = torch.arange(1, k.shape[1] + 1, device=q.device) * sizes.block - 1
    return in_groups(q, k.shape[2]) * sizes.scale @ shared(k).mT, ends <= _steps(q.shape[1], keys, q.device)


def _answer(scored: tuple[Tensor, Tensor], v: Tensor) -> Tensor:
    return out_of_groups(weights_of(*scored) @ shared(v))


@in_float32
def _attend_to_means(sizes: _Sizes, q: Tensor, k: Tensor, v: Tensor, keys: int) -> tuple[Tensor, Tensor]:
    scored = _score_means(sizes, q, k, keys)
    total = log_sum_exp(*scored)
    return _answer(scored, v), out_of_groups(total)


@torch.no_grad()
def _choose(sizes: _Sizes, q: Tensor, k: Tensor, keys: int) -> tuple[Tensor]:
    """The chosen blocks, as `parallel_nsa_topk` gives them: of the mean of the weights over a group of heads."""
    q, k = widen(q), widen(k)
    own = _steps(q.shape[1], keys, q.device) // sizes.block
    block = torch.arange(k.shape[1], device=q.device)
    rank = weights_of(*_score_means(sizes, q, k, keys)).mean(2)
    for forced, order in ((block == 0, 2.0), (block == own - 1, 3.0), (block == own, 4.0)):
        rank = rank.masked_fill(forced, order)
    rank = F.pad(rank.masked_fill(block > own, -1), (0, max(0, sizes.chosen - len(block))), value=-1)
    best, indices = rank.topk(sizes.chosen, -1)
    return (indices.masked_fill(best < 0, -1).transpose(1, 2),)


@in_float32
def _attend_to_chosen(
    sizes: _Sizes, q: Tensor, block_indices: Tensor, counts: Tensor | None, k: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    scored = _score_chosen(sizes, q, block_indices, counts, k)
    total = log_sum_exp(*scored)
    return _answer(scored, v), out_of_groups(total)


def _score_chosen(
    sizes: _Sizes, q: Tensor, block_indices: Tensor, counts: Tensor | None, k: Tensor
) -> tuple[Tensor, Tensor]:
    """Each query's scores of the keys, and whether they are in the first `counts` of its blocks.

    A block that is given twice counts twice, as in fla.
    """
    queries, (keys, heads) = q.shape[1], k.shape[1:3]
    if counts is not None:
        place = torch.arange(block_indices.shape[-1], device=q.device)
        block_indices = block_indices.masked_fill(place >= counts.unsqueeze(-1), -1)
    none = -(-keys // sizes.block)  # one more block, for those that are -1
    blocks = block_indices.long().masked_fill((block_indices < 0) | (block_indices > none), none).transpose(1, 2)
    times = q.new_zeros(*blocks.shape[:3], none + 1).scatter_add(-1, blocks, torch.ones_like(blocks, dtype=q.dtype))
    times = times[..., torch.arange(keys, device=q.device) // sizes.block].unsqueeze(2)
    scores = in_groups(q, heads) * sizes.scale @ shared(k).mT + times.clamp(min=1).log()
    return scores, (times > 0) & visible(queries, keys, device=q.device)
