"""Shared parts of all kinds of attention: packed rows, groups of heads, and masks of visible keys.

The queries are always the last steps of the keys, so that one function serves whole sequences and decoding.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.errors import UserError
from lit_retrieval.ops.fla_cpu.parts import lengths_of

Bounds = Tensor | tuple[Tensor, Tensor] | None
"""fla's `cu_seqlens`: where each part of a packed row begins, and the row's end; one for queries and one for keys."""


def by_parts(
    attend: Callable[..., tuple[Tensor, ...]],
    queries: Sequence[Tensor | None],
    keys: Sequence[Tensor | None],
    cu_seqlens: Bounds = None,
) -> tuple[Tensor, ...]:
    """Call `attend(*queries, *keys)` for each part of a packed row, or for the whole batch without `cu_seqlens`.

    All tensors and all results are `(batch, time, ...)`. Parts of one length are computed as one batch.

    Raises:
        UserError: If the batch is not one row, or the parts do not end with it.
    """
    if cu_seqlens is None:
        return attend(*queries, *keys)
    both = cu_seqlens if isinstance(cu_seqlens, tuple) else (cu_seqlens, cu_seqlens)
    lengths = [lengths_of(ends, _first(side)) for ends, side in zip(both, (queries, keys), strict=True)]
    if all(len(set(side)) == 1 and side[0] for side in lengths):
        rows = (None if one is None else one.view(len(lengths[0]), -1, *one.shape[2:]) for one in (*queries, *keys))
        return tuple(one.flatten(0, 1).unsqueeze(0) for one in attend(*rows))
    sides = zip((queries, keys), lengths, strict=True)
    split = [_split(one, side) for tensors, side in sides for one in tensors]
    parts = [attend(*part) for length, *part in zip(lengths[0], *split, strict=True) if length]
    return tuple(torch.cat(results, 1) for results in zip(*parts, strict=True))


def _first(tensors: Sequence[Tensor | None]) -> Tensor:
    return next(one for one in tensors if one is not None)


def _split(x: Tensor | None, lengths: list[int]) -> Sequence[Tensor | None]:
    return [None] * len(lengths) if x is None else torch.split(x, lengths, 1)


def in_groups(x: Tensor, heads: int) -> Tensor:
    """`x (batch, time, heads of queries, ...)` as `(batch, heads of keys, group, time, ...)`.

    Raises:
        UserError: If the heads of the queries are not a multiple of those of the keys.
    """
    if heads == 0 or x.shape[2] % heads:
        raise UserError(f"the heads of q must be a multiple of k's, got {x.shape[2]} and {heads}")
    groups: Tensor = x.unflatten(2, (heads, -1))  # type: ignore[no-untyped-call]
    return groups.transpose(1, 2).transpose(2, 3)


def out_of_groups(x: Tensor) -> Tensor:
    """The inverse of `in_groups`."""
    return x.transpose(2, 3).transpose(1, 2).flatten(2, 3)


def shared(x: Tensor) -> Tensor:
    """Keys or values `(batch, time, heads, ...)` as `(batch, heads, 1, time, ...)`: each serves a group of queries."""
    return x.transpose(1, 2).unsqueeze(2)


def visible(queries: int, keys: int, window: int | None = None, device: torch.device | None = None) -> Tensor:
    """Which keys each query sees, `(queries, keys)`: those up to its own step, and `window` of them if given."""
    last = keys - queries
    mask = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(last)
    return mask if window is None else mask.triu(last - window + 1)


def weights_of(scores: Tensor, is_visible: Tensor, sink: Tensor | None = None) -> Tensor:
    """The softmax of scores over the visible keys, zero for a query that sees none; writes into `scores`.

    A `sink` is one more score for each query, without a value: it takes part in the sum alone.
    """
    scores.masked_fill_(~is_visible, torch.finfo(scores.dtype).min)
    if sink is not None:
        scores = torch.cat([scores, sink.to(scores.dtype).expand(*scores.shape[:-1], 1)], -1)
        return weights_of(scores, F.pad(is_visible, (0, 1), value=True))[..., :-1]
    weights, sees_none = scores.softmax(-1), ~is_visible.any(-1, keepdim=True)
    is_needed = torch.compiler.is_compiling() or not scores.is_cpu or bool(sees_none.any())  # no wait for a GPU
    return weights.masked_fill(sees_none, 0) if is_needed else weights


def log_sum_exp(scores: Tensor, is_visible: Tensor, sink: Tensor | None = None) -> Tensor:
    """The log of the sum that `weights_of` divides by, and 0 for a query that sees no key."""
    scores = scores.masked_fill(~is_visible, -torch.inf)
    if sink is not None:
        scores = torch.cat([scores, sink.to(scores.dtype).expand(*scores.shape[:-1], 1)], -1)
    return scores.logsumexp(-1).masked_fill(~is_visible.any(-1), 0)
