"""Mamba-3 (arXiv:2603.15569) on a CPU; its forward in fla needs the package mamba-ssm and a GPU.

A step adds to the state what its own token and the one before it write (a trapezoid): with a = exp(A dt),

    S_t = a_t (S_{t-1} + (1 - l_t) dt_t k_{t-1} v_{t-1}^T) + l_t dt_t k_t v_t^T,   o_t = q_t S_t,

where queries and keys are turned by the sum of all angles so far. So each token is written once, with the rate l_t dt_t
+ (1 - l_{t+1}) dt_{t+1}, and what the next token has added is taken off the token's own output. With several ranks
(MIMO) a token writes several keys and values, one after the other.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops.fla_cpu.mamba import gate_and_norm, project
from lit_retrieval.ops.fla_cpu.parts import by_parts
from lit_retrieval.ops.half_precision import in_float32, widen
from lit_retrieval.ops.linear_recurrence import linear_recurrence
from lit_retrieval.ops.rms_norm import rms_norm

_State = tuple[Tensor, Tensor, Tensor, Tensor]


class _Inputs(NamedTuple):
    """What the scan of a layer takes, by heads and ranks.

    Args:
        q, k: Queries and keys, `(batch, time, ranks, heads, state_size)`.
        v: Values, `(batch, time, heads, head_dim)`.
        log_decay, dt, share: A dt, dt and l, `(batch, time, heads)`.
        angles: How far each token turns queries and keys, `(batch, time, heads, angles)`.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    log_decay: Tensor
    dt: Tensor
    share: Tensor
    angles: Tensor


def mamba3_forward(
    layer: Any,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    past_key_values: Any = None,
    use_cache: bool | None = False,
    output_attentions: bool | None = False,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, None, Any]:
    """Mamba-3 in place of fla's `Mamba3.forward`, for any number of tokens after earlier ones.

    Its state is fla's: the angles `(batch, heads, angles)`, the recurrence's `(batch, heads, head_dim, state_size)`,
    and the last token's keys `(batch, ranks, heads, state_size)` and values `(batch, heads, head_dim)`.
    """
    from fla.layers.utils import get_layer_cache, repad_hidden_states, unpad_hidden_states, update_layer_cache

    last = get_layer_cache(layer, past_key_values)
    (batch, time, _), x, indices = hidden_states.shape, hidden_states, None
    if last is None:
        x, indices, cu_seqlens = unpad_hidden_states(x, cu_seqlens, attention_mask, time)
    y, state = _mix(layer, x, None if last is None else last["recurrent_state"], cu_seqlens=cu_seqlens)
    update_layer_cache(layer, past_key_values, recurrent_state=state, offset=time)
    return repad_hidden_states(y, indices, batch, time), None, past_key_values


@by_parts
def _mix(
    layer: Any, x: Tensor, initial_state: _State | None, cu_seqlens: Tensor | None = None
) -> tuple[Tensor, _State]:
    heads, ranks, per_rank = layer.num_heads, layer.mimo_rank, layer.n_groups * layer.ssm_state_size
    sizes = [*2 * [layer.intermediate_size], *2 * [per_rank * ranks], *3 * [heads], layer.num_rope_angles]
    z, v, B, C, dt, A, share, angles = (widen(part) for part in project(layer, x, sizes))
    dt = F.softplus(dt + widen(layer.dt_bias))
    z, v = (part.reshape(*x.shape[:2], heads, -1) for part in (z, v))
    inputs = _Inputs(
        _by_head(layer, C, layer.C_norm, layer.C_bias),
        _by_head(layer, B, layer.B_norm, layer.B_bias),
        v,
        (-F.softplus(A)).clamp(max=-layer.A_floor) * dt,
        dt,
        share.sigmoid(),
        math.pi * angles.tanh().unsqueeze(2) * dt.unsqueeze(3),
    )
    spread = widen(layer.mimo_x).transpose(0, 1) if layer.is_mimo else v.new_ones(1, 1, 1)
    o, state = _scan(inputs, spread, widen(layer.D), initial_state, layer.is_mimo)
    return layer.out_proj(_gate(layer, o, z).to(x.dtype)), state


def _by_head(layer: Any, x: Tensor, norm: Any, bias: Tensor) -> Tensor:
    """Normalized keys of each rank and group, shared by its heads, plus a bias of each rank and head."""
    x = x.reshape(*x.shape[:2], layer.mimo_rank, layer.n_groups, -1)
    x = rms_norm(x, widen(norm.weight), norm.eps).repeat_interleave(layer.num_heads // layer.n_groups, 3)
    return x + widen(bias).transpose(0, 1)


@in_float32
def _scan(
    inputs: _Inputs, spread: Tensor, skip: Tensor, state: _State | None, by_halves: bool
) -> tuple[Tensor, _State]:
    """The outputs, `(batch, time, ranks, heads, head_dim)`, and the state after the last token.

    `spread` makes a value for each rank, `(ranks, heads or 1, head_dim or 1)`; `skip` is D, `(heads,)`.
    """
    q, k, v, log_decay, dt, share, angles = inputs
    angles = angles.cumsum(1) if state is None else angles.cumsum(1) + state[0].unsqueeze(1)
    angles = angles.remainder(2 * math.pi)
    cos, sin = (part.unsqueeze(2) for part in (angles.cos(), angles.sin()))
    q, k = _turn(q, cos, sin, by_halves), _turn(k, cos, sin, by_halves)
    own, values = share * dt, v.unsqueeze(2) * spread
    later = (1 - share) * dt  # of the token before
    before = None
    if state is not None:
        _, before, last_k, last_v = state
        written = torch.einsum("brhn,brhp->bhnp", last_k, last_v.unsqueeze(1) * spread)
        before = before.transpose(2, 3) + later[:, 0, :, None, None] * written
    later = F.pad(later[:, 1:], (0, 0, 0, 1))
    o, after = _recur(q, k, values, log_decay, own + later, before)
    dots = torch.einsum("bthrn,bthsn->bthrs", q.transpose(2, 3), k.transpose(2, 3))
    unseen = torch.ones_like(dots[0, 0, 0]).triu(1) * (own + later)[..., None, None]
    diagonal = torch.eye(q.shape[2], dtype=q.dtype, device=q.device) * skip[:, None, None]
    shares = dots * (unseen - later[..., None, None]) + diagonal
    o = o + (shares[..., 0, 0].unsqueeze(2).unsqueeze(4) * values if q.shape[2] == 1 else _mix_ranks(shares, values))
    return o, (angles[:, -1], after.transpose(2, 3).contiguous(), k[:, -1], v[:, -1])


def _mix_ranks(shares: Tensor, values: Tensor) -> Tensor:
    """Each rank's sum of the values of all, `(batch, time, ranks, heads, head_dim)`."""
    return torch.einsum("bthrs,btshp->btrhp", shares, values)


def _recur(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, rate: Tensor, state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Each token writes its ranks one after the other, and a rank reads after its own writing."""
    ranks = q.shape[2]
    log_decay = F.pad(log_decay.unsqueeze(2), (0, 0, 0, ranks - 1)).flatten(1, 2).unsqueeze(-1)
    rate = rate.unsqueeze(2).expand(-1, -1, ranks, -1).flatten(1, 2).unsqueeze(-1)
    q, k, v_in_rows = (one.flatten(1, 2) for one in (q, k, v))
    o, state = linear_recurrence(q, k, v_in_rows, log_decay, state=state, rate=rate)
    return o.view_as(v), state


def _turn(x: Tensor, cos: Tensor, sin: Tensor, by_halves: bool) -> Tensor:
    """Pairs of elements turned by their angles, from the first on: neighbors, or one of each half (MIMO)."""
    missing = (0, x.shape[-1] // 2 - cos.shape[-1])
    cos, sin = F.pad(cos, missing, value=1.0), F.pad(sin, missing)
    even = x[..., : 2 * cos.shape[-1]]
    first, second = even.chunk(2, -1) if by_halves else (even[..., ::2], even[..., 1::2])
    parts = first * cos - second * sin, first * sin + second * cos
    turned = torch.cat(parts, -1) if by_halves else torch.stack(parts, -1).flatten(-2)
    return torch.cat([turned, x[..., even.shape[-1] :]], -1)


def _gate(layer: Any, o: Tensor, z: Tensor) -> Tensor:
    """Outputs `(batch, time, ranks, heads, head_dim)`, gated and summed over ranks, `(batch, time, dim)`."""
    z = torch.einsum("bthp,hrp->btrhp", z, widen(layer.mimo_z)) if layer.is_mimo else z.unsqueeze(2)
    if layer.is_outproj_norm:
        rows, gates = (part.flatten(1, 2).flatten(2) for part in (o, z))  # ranks as if they were tokens
        o = gate_and_norm(rows, gates, layer).view_as(o)
    else:
        o = o * F.silu(z)
    return (torch.einsum("btrhp,hrp->bthp", o, widen(layer.mimo_o)) if layer.is_mimo else o.squeeze(2)).flatten(2)
