"""Log-linear attention and log-linear Mamba-2 on a CPU, with the arguments of fla's own (arXiv:2506.04761).

Query i weighs token j by its level, the number of bits of i xor j. All tokens of a block have the same level for every
later query, where the tokens so far are split as their number is into powers of two. So the state is one matrix for
each such block, largest block first: `(batch, blocks, heads, key_dim, value_dim)`, with as many blocks as the number of
tokens has bits that are set.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.errors import UserError
from lit_retrieval.ops.fla_cpu.mamba import convolve_apart, gate_and_norm, project
from lit_retrieval.ops.fla_cpu.parts import by_parts
from lit_retrieval.ops.half_precision import in_float32, widen
from lit_retrieval.ops.linear_recurrence.naive import for_each_head

_SEGMENT = 64  # tokens that are attended to in one matrix product


@in_float32
def log_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    level_scales: Tensor,
    initial_state: Any = None,
    output_final_state: bool = False,
    scale: float | None = 1.0,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Any]:
    """Attention with a decay, in which a query has a scale for each level of tokens.

    Args:
        q, k: Queries and keys, `(batch, time, groups, key_dim)`; consecutive heads share those of a group.
        v: Values, `(batch, time, heads, value_dim)`.
        g: The log of the decay, `(batch, time, heads)`.
        level_scales: `(batch, time, heads, levels)`.
        initial_state: fla's `LogLinearAttentionState`, as this function returned it.
        cu_seqlens: Ends of the sequences in the one row; these have no states.
    """
    from fla.ops.log_linear_attn.chunk import LogLinearAttentionState

    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if cu_seqlens is not None:
        if initial_state is not None or output_final_state:
            raise UserError("packed rows have no states in log-linear attention on a CPU; give each sequence a row")
        return _attend_to_parts(scale * q, k, v, g, level_scales, cu_seqlens=cu_seqlens), None
    before = None if initial_state is None else (initial_state.ht, int(initial_state.offsets[0]))
    o, (blocks, count) = attend_by_level(scale * q, k, v, g, level_scales, before)
    if not output_final_state:
        return o, None
    offsets = torch.full((len(v),), count, dtype=torch.int32)
    return o, LogLinearAttentionState(blocks, offsets, *5 * [None])


@by_parts
def _attend_to_parts(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, scales: Tensor, cu_seqlens: Tensor | None = None
) -> Tensor:
    return attend_by_level(q, k, v, g, scales, None)[0]


@in_float32
def attend_by_level(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, scales: Tensor, state: tuple[Tensor, int] | None
) -> tuple[Tensor, tuple[Tensor, int]]:
    """The same, with the blocks and the number of tokens as the state."""
    q, k, v = for_each_head(q, k, v, None)
    q, k, v, g, scales = (one.transpose(1, 2) for one in (q, k, v, g, scales))  # (batch, heads, time, ...)
    start = 0 if state is None else state[1]
    stop = start + v.shape[2]
    if (stop - 1).bit_length() >= scales.shape[-1]:
        most = 2 ** (scales.shape[-1] - 1)
        raise UserError(f"log-linear attention with {scales.shape[-1]} levels takes {most} tokens at most, got {stop}")
    blocks = [] if state is None else list(state[0].unbind(1))
    outputs = []
    for first in range(start - start % _SEGMENT, stop, _SEGMENT):
        cut = slice(max(first, start) - start, first + _SEGMENT - start)
        inputs = [one[:, :, cut] for one in (q, k, v, g, scales)]
        o, blocks = _attend(inputs, blocks, max(first, start))
        outputs.append(o)
    return torch.cat(outputs, 2).transpose(1, 2), (torch.stack(blocks, 1), stop)


def _attend(inputs: list[Tensor], blocks: list[Tensor], start: int) -> tuple[Tensor, list[Tensor]]:
    """The outputs of a segment that begins with token `start`, `(batch, heads, time, dim)`, and the blocks after it."""
    q, k, v, g, scales = inputs
    stop, sums = start + q.shape[2], g.cumsum(2)
    places = torch.arange(start, stop, device=q.device)
    logs = sums.unsqueeze(3) - sums.unsqueeze(2)
    decays = logs.masked_fill(places > places.unsqueeze(1), -torch.inf).exp()
    o = (q @ k.transpose(2, 3) * decays * _scales_of(scales, places, places)) @ v
    old = _blocks(start)
    if old:
        firsts = torch.stack([places.new_full((), first) for first, _ in old])  # filled there: no wait for a GPU
        weights = _scales_of(scales, places, firsts) * sums.exp().unsqueeze(3)
        read = q.unsqueeze(2) @ torch.stack(blocks, 2)
        o = o + (weights.transpose(2, 3).unsqueeze(-1) * read).sum(2)
    k_left, kept = k * (sums[:, :, -1:] - sums).exp().unsqueeze(3), sums[:, :, -1].exp()[..., None, None]
    merged = []
    for first, size in _blocks(stop):
        own = slice(max(first - start, 0), max(first + size - start, 0))
        parts = [block for (at, _), block in zip(old, blocks, strict=True) if first <= at < first + size]
        merged.append(k_left[:, :, own].transpose(2, 3) @ v[:, :, own] + kept * sum(parts, q.new_zeros(())))
    return o, merged


def _blocks(count: int) -> list[tuple[int, int]]:
    """The first token and the size of each block of so many tokens, the largest first."""
    sizes = [1 << bit for bit in reversed(range(count.bit_length())) if count >> bit & 1]
    return [(sum(sizes[:place]), size) for place, size in enumerate(sizes)]


def _scales_of(scales: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
    """The scale of each key's level for each query, `(batch, heads, queries, keys)`."""
    differences = queries.unsqueeze(1) ^ keys
    bits = 1 << torch.arange(scales.shape[-1], device=scales.device)
    levels = (differences.unsqueeze(-1) >= bits).sum(-1)
    # A product with one-hot vectors: to gather, and to scatter gradients, takes longer.
    chosen = F.one_hot(levels, scales.shape[-1]).to(scales.dtype)
    return torch.einsum("bhql,qkl->bhqk", scales, chosen)


def log_linear_mamba2_forward(
    layer: Any,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    past_key_values: Any = None,
    use_cache: bool | None = False,
    output_attentions: bool | None = False,
) -> tuple[Tensor, None, Any]:
    """Log-linear Mamba-2 in place of fla's `LogLinearMamba2.forward`, for any number of tokens after earlier ones."""
    from fla.layers.mamba2 import apply_mask_to_padding_states
    from fla.layers.utils import get_layer_cache, update_layer_cache

    last = get_layer_cache(layer, past_key_values)
    mask = attention_mask if last is None else None
    x = apply_mask_to_padding_states(hidden_states, mask)
    y, conv_state, state = _mix(layer, x, mask, last or {"conv_state": None, "recurrent_state": None})
    update_layer_cache(
        layer, past_key_values, recurrent_state=state, conv_state=conv_state, offset=hidden_states.shape[1]
    )
    return y, None, past_key_values


def _mix(layer: Any, x: Tensor, mask: Tensor | None, last: dict[str, Any]) -> tuple[Tensor, Tensor, tuple[Tensor, int]]:
    """The outputs, the convolution's last inputs, and the state of the recurrence."""
    batch, time, _ = x.shape
    heads, groups = layer.num_heads, layer.n_groups
    gate, x, BC, dt, level = project(
        layer, x, [*2 * [layer.intermediate_size], 2 * groups * layer.ssm_state_size, heads, heads * layer.L.shape[-1]]
    )
    x, BC = _masked(x, mask), _masked(BC, mask)
    x, BC, conv_state = convolve_apart(layer, x, BC, last["conv_state"])
    x, BC = _masked(x, mask), _masked(BC, mask)
    B, C = (widen(part).reshape(batch, time, groups, -1) for part in BC.chunk(2, -1))
    v = widen(x).view(batch, time, heads, -1)
    dt = F.softplus(widen(dt) + layer.dt_bias)
    scales = F.softplus(widen(layer.L).flatten() * widen(level)).view(batch, time, heads, -1)
    g = -widen(layer.A_log).exp() * dt
    y, state = attend_by_level(C, B, v * dt.unsqueeze(-1), g, scales, last["recurrent_state"])
    y, gate = (y + v * widen(layer.D).view(heads, -1)).flatten(2), widen(gate)
    y = gate_and_norm(y, gate, layer) if layer.rmsnorm else y * layer.act(gate)
    return layer.out_proj(y.to(x.dtype)), conv_state, state


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """The inputs, with zeros where the mask is 0."""
    return x if mask is None else x * mask.unsqueeze(-1)
