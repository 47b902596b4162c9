"""Cyclic flow attention on a CPU, with the arguments of fla's own functions (arXiv:2609.36259)."""

import math
from functools import partial

import torch
from torch import Tensor

from lit_retrieval.ops.fla_cpu.parts import by_parts
from lit_retrieval.ops.half_precision import in_float32
from lit_retrieval.ops.linear_recurrence import linear_recurrence
from lit_retrieval.ops.rms_norm import rms_norm

_State = tuple[Tensor, Tensor, Tensor]


@in_float32
@partial(by_parts, whole=["readout"])
def cyclic_flow(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    delta: Tensor,
    beta: Tensor,
    readout: Tensor,
    q_norm_weight: Tensor,
    k_norm_weight: Tensor,
    q_norm_eps: float,
    k_norm_eps: float,
    scale: float | None = None,
    initial_state: _State | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, _State | None]:
    """Keys and values are written at a clock's phase, and read by a softmax over the slots of a learned table.

    Both memories are linear recurrences: that of keys writes k at the phase's harmonics, and gives a logit for each of
    them; the softmax's weights, turned back by the phase, read the values.

    Args:
        q, k: Queries and keys before their norms, `(batch, time, heads, key_dim)`.
        v: Values, `(batch, time, heads, value_dim)`.
        g: The log of the decay, `(batch, time, heads)`.
        delta: Steps of the clock, in slots, `(batch, time, heads)`.
        beta: How strongly a step is written, `(batch, time, heads)`.
        readout: `(heads, slots, slots)`; the memory has one harmonic more.
        q_norm_weight, k_norm_weight: `(key_dim,)`.
        initial_state: Memories of keys `(batch, heads, key_dim, harmonics)` and of values `(batch, heads, harmonics,
            value_dim)`, and the clock `(batch, heads)`.
    """
    slots = readout.shape[-1]
    q, k = rms_norm(q, q_norm_weight, q_norm_eps), rms_norm(k, k_norm_weight, k_norm_eps)
    keys, values, clock = initial_state or (None, None, None)
    clocks = delta.cumsum(1) if clock is None else delta.cumsum(1) + clock.unsqueeze(1)
    cos, sin = _phases(clocks, slots)
    lengths = torch.full_like(cos[0, 0, 0], (2 / slots) ** 0.5)  # of the harmonics; that of the constant one is shorter
    lengths[0] = slots**-0.5
    written = (beta.unsqueeze(-1) * _pairs(lengths * cos, -lengths * sin)).to(q.dtype)
    log_decay, scale = g.unsqueeze(-1), q.shape[-1] ** -0.5 if scale is None else scale
    logits, keys = linear_recurrence(scale * q, k, written, log_decay, state=keys)
    table = readout @ _pairs(*(lengths * part for part in _phases(torch.arange(slots).to(q), slots)))
    shares = (_turn(logits, cos, sin).transpose(1, 2) @ table.transpose(1, 2)).softmax(-1)
    weights = _turn((shares @ table).transpose(1, 2), cos, -sin)
    o, values = linear_recurrence(weights, written, v, log_decay, state=values)
    return o, (keys, values, clocks[:, -1]) if output_final_state else None


def _phases(clocks: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of each harmonic at a time, `(..., (slots + 1) / 2)`; whole turns are taken off before."""
    harmonics, whole = torch.arange((slots + 1) // 2, device=clocks.device), clocks.detach().floor().unsqueeze(-1)
    turns = (whole.long() * harmonics).remainder(slots) + (clocks.unsqueeze(-1) - whole) * harmonics
    angles = turns * (2 * math.pi / slots)
    return angles.cos(), angles.sin()


def _pairs(first: Tensor, second: Tensor) -> Tensor:
    """Neighbors from two tensors, as cosines and sines lie in the memory."""
    return torch.stack([first, second], -1).flatten(-2)


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Each pair of neighbors, turned by its angle."""
    first, second = x[..., ::2], x[..., 1::2]
    return _pairs(first * cos - second * sin, first * sin + second * cos)
