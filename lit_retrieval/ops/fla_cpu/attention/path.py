"""PaTH attention on a CPU (arXiv:2505.16381): positions by products of Householder-like matrices."""

from functools import partial

import torch
from torch import Tensor

from lit_retrieval.ops.fla_cpu.attention.parts import by_parts, in_groups, out_of_groups, shared, visible, weights_of
from lit_retrieval.ops.half_precision import in_float32

_CHUNK = 64


def parallel_path_attn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor,
    beta: Tensor,
    g: Tensor | None = None,
    scale: float | None = None,
    cu_seqlens: Tensor | None = None,
    use_cache: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Causal attention whose score of query i and key j is q_i H_i ... H_j+1 k_j, with H_t = 1 - beta_t w_t w_t'.

    Args:
        q: `(batch, time, heads of queries, key_dim)`.
        k, w: `(batch, time, heads, key_dim)`.
        v: `(batch, time, heads, value_dim)`.
        beta: `(batch, time, heads)`.
        g: Log decays, `(batch, time, heads of queries)`; a score gets their sum after the key's step.
        scale: What multiplies scores and decays; by default `key_dim ** -0.5`.
        use_cache: Whether to return the keys for decoding.

    Returns:
        The outputs, and the keys times all H after them, or None.
    """
    o, keys = by_parts(partial(path_attention, scale=scale), (q, w, beta), (k, v, g), cu_seqlens)
    return o, keys.to(k.dtype) if use_cache else None


@in_float32
def path_attention(
    q: Tensor,
    w: Tensor,
    beta: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    *,
    scale: float | None = None,
    is_real: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The outputs of queries, the last of the keys' steps, as in `parallel_path_attn`, and the keys after them.

    Keys from before the queries are times all H up to the first query, which this function returned for them. In
    chunks, the product of a chunk's H is 1 - U' w with (1 + tril(beta w w', -1)) U = beta w.

    Args:
        is_real: `(batch, keys)`, False for keys of padding.
    """
    (queries, heads, dim), keys = w.shape[1:], k.shape[1]
    scale = dim**-0.5 if scale is None else scale
    q, (w, k, v) = in_groups(q, heads), (shared(one) for one in (w, k, v))
    beta, total = (
        shared(beta).unsqueeze(-1).to(q.dtype),
        None if g is None else in_groups(g.to(q.dtype).cumsum(1), heads),
    )
    seen, outputs = k[..., : keys - queries, :], []
    for start in range(0, queries, _CHUNK):
        chunk = slice(start, min(start + _CHUNK, queries))
        end = keys - queries + chunk.stop
        own, q_own, w_own = k[..., seen.shape[-2] : end, :], q[..., chunk, :], w[..., chunk, :]
        u, moved = _solve(w_own, beta[..., chunk, :], own)
        q_w = (q_own @ w_own.mT).tril()
        scores = torch.cat([(q_own - q_w @ u) @ seen.mT, q_own @ own.mT - q_w @ moved], -1)
        if total is not None:
            scores = scores + total[..., end - q_own.shape[-2] : end, None] - total[..., None, :end]
        mask = visible(q_own.shape[-2], end, device=q.device)
        if is_real is not None:
            mask = mask & is_real[:, None, None, None, :end]
        outputs.append(weights_of(scores * scale, mask) @ v[..., :end, :])
        seen = torch.cat([seen - seen @ u.mT @ w_own, own - moved.mT @ w_own], -2)
    return out_of_groups(torch.cat(outputs, -2)), seen.squeeze(2).transpose(1, 2)


def _solve(w: Tensor, beta: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """U of a chunk, `(..., steps, dim)`, and what each step removes from each key before it, `(..., steps, keys)`."""
    scaled = beta * w
    system = (scaled @ w.mT).tril(-1)
    right = torch.cat([scaled, (scaled @ k.mT).tril(-1)], -1)
    u, moved = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True).split(
        [w.shape[-1], k.shape[-2]], -1
    )
    return u, moved
