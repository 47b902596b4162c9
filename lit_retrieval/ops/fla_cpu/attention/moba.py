"""Mixture of block attention on a CPU (arXiv:2502.13189)."""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops.fla_cpu.attention.parts import by_parts, in_groups, out_of_groups, shared, visible, weights_of
from lit_retrieval.ops.half_precision import in_float32


def parallel_moba(
    q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, max_seqlen: int, chunk_size: int, topk: int
) -> Tensor:
    """Causal attention to the query's own chunk and, for each query and head, `topk - 1` earlier chunks.

    Those are the chunks whose mean keys have the largest products with the query. With `topk` 1 the attention is to all
    keys, as in fla.

    Args:
        q: `(1, time, heads of queries, dim)`.
        k, v: `(1, time, heads, dim)`; fla's own kernel wants as many heads as q has.
        cu_seqlens: Where each part of the row begins, and the row's end.
        max_seqlen: The longest part's length: if all parts are as long, `cu_seqlens` is not read.
    """
    attend = partial(_attend, chunk_size=chunk_size, others=topk - 1)
    parts = len(cu_seqlens) - 1
    if parts * max_seqlen != q.shape[1]:
        return by_parts(attend, (q,), (k, v), cu_seqlens)[0]
    rows = (one.view(parts, max_seqlen, *one.shape[2:]) for one in (q, k, v))
    return attend(*rows)[0].flatten(0, 1).unsqueeze(0)


@in_float32
def _attend(q: Tensor, k: Tensor, v: Tensor, chunk_size: int, others: int) -> tuple[Tensor]:
    steps, heads, dim = k.shape[1:]
    q, k, v = in_groups(q, heads), shared(k), shared(v)
    is_visible = visible(steps, steps, device=q.device)
    if others > 0:
        chunk = torch.arange(steps, device=q.device) // chunk_size
        is_visible = is_visible & ((chunk == chunk[:, None]) | _chosen(q, k, chunk, chunk_size, others))
    weights = weights_of(q * dim**-0.5 @ k.mT, is_visible)
    return (out_of_groups(weights @ v),)


@torch.no_grad()
def _chosen(q: Tensor, k: Tensor, chunk: Tensor, size: int, others: int) -> Tensor:
    """Whether a key is in one of the earlier chunks that a query chose, `(batch, heads, group, steps, steps)`."""
    whole = (len(chunk) - 1) // size  # the last chunk is the future of none
    means = k[..., : whole * size, :].view(*k.shape[:-2], whole, size, k.shape[-1]).mean(-2)
    is_past = chunk[:, None] > torch.arange(whole, device=q.device)
    gates = (q @ means.mT).masked_fill(~is_past, -torch.inf)
    best = gates.topk(min(others, whole), -1).indices
    is_chosen = torch.zeros_like(gates, dtype=torch.bool).scatter(-1, best, True) & is_past
    return F.pad(is_chosen, (0, 1))[..., chunk]
