"""Parallax on a CPU: softmax attention with a first-order correction (arXiv:2605.29157), and its decoding."""

from functools import partial

import torch
from torch import Tensor

from lit_retrieval.errors import UserError
from lit_retrieval.ops.fla_cpu.attention.parts import by_parts, in_groups, out_of_groups, shared, visible, weights_of
from lit_retrieval.ops.half_precision import in_float32


def parallel_parallax(
    q: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    window_size: int | None = None,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """Causal Parallax of q and r, `(batch, time, heads of queries, dim)`, and k and v, `(batch, time, heads, dim)`.

    With p = softmax(scale q k) and s = r k, the output is the sum of p (1 + mean of s - s) v, the mean taken by p. Any
    precision will do; fla's kernel takes half precision only.
    """
    attend = partial(_attend, first=None, scale=scale, window=window_size)
    return by_parts(attend, (q, r), (k, v), cu_seqlens)[0]


def parallax_decode(
    q: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    window_size: int | None = None,
    cache_start: Tensor | None = None,
) -> Tensor:
    """The same for queries that are the last steps of the keys; `cache_start (batch,)` is each row's first real key."""
    if k.shape[1] < q.shape[1]:
        raise UserError(f"there must be a key for each of {q.shape[1]} queries, got {k.shape[1]} keys")
    return _attend(q, r, k, v, first=cache_start, scale=scale, window=window_size)[0]


def parallax_decode_one_step(
    q: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    window_size: int | None = None,
    cache_start: Tensor | None = None,
) -> Tensor:
    """`parallax_decode` of one query."""
    if q.shape[1] != 1:
        raise UserError(f"q must have one step, got {q.shape[1]}; call parallax_decode")
    return parallax_decode(q, r, k, v, scale, window_size, cache_start)


@in_float32
def _attend(
    q: Tensor, r: Tensor, k: Tensor, v: Tensor, first: Tensor | None, scale: float | None, window: int | None
) -> tuple[Tensor]:
    queries, (keys, heads, dim) = q.shape[1], k.shape[1:]
    q, r, k, v = in_groups(q, heads), in_groups(r, heads), shared(k), shared(v)
    is_visible = visible(queries, keys, window, q.device)
    if first is not None:
        is_visible = is_visible & (torch.arange(keys, device=q.device) >= first.view(-1, 1, 1, 1, 1))
    p = weights_of(q * (dim**-0.5 if scale is None else scale) @ k.mT, is_visible)
    s = r @ k.mT
    return (out_of_groups((p * (1 + (p * s).sum(-1, keepdim=True) - s)) @ v),)
