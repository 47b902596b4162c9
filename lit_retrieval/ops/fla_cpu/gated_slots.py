"""Attention over slots that decay, on a CPU, with the arguments of fla's functions: GSA, ABC, and gates that add up.

As in fla's kernels, half precision is computed in float32, and the last states are float32.
"""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops.fla_cpu.parts import by_parts
from lit_retrieval.ops.fla_cpu.recurrences import _scaled
from lit_retrieval.ops.half_precision import in_float32, widen
from lit_retrieval.ops.linear_recurrence import linear_recurrence
from lit_retrieval.ops.linear_rnn import linear_rnn
from lit_retrieval.ops.slot_recurrence import slot_recurrence


@partial(by_parts, outputs=2, unread=-torch.inf)
def additive_gate(
    x: Tensor,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    output_dtype: torch.dtype | None = None,
    gate_dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """LightNet's gates (arXiv:2405.21022), with which a sum is a weighted mean.

    They are each step's share exp(x) of the sum of exp(x) so far, and a log decay.

    Returns:
        The shares and the logs of the decays, shaped like x, `(batch, time, heads, dim)`, and the log of the last sum,
        `(batch, 1, heads, dim)`.
    """
    logits, before = widen(x), widen(initial_state)
    sums = _log_sums(logits if before is None else torch.cat([before, logits], 1))
    before, sums = (sums[:, :1], sums) if before is None else (before, sums[:, 1:])
    share, log_decay = (logits - sums).exp(), torch.cat([before, sums[:, :-1]], 1) - sums
    return share.to(output_dtype or x.dtype), log_decay.to(gate_dtype or x.dtype), sums[:, -1:]


def _log_sums(x: Tensor) -> Tensor:
    """`x.logcumsumexp(1)` by `linear_rnn`, whose gradients take a fraction of the time of PyTorch's.

    The sums are of exp(x - m), where m is the largest x so far; where m grows, earlier ones shrink.
    """
    largest = x.detach().cummax(1).values
    shrinking = F.pad(largest[:, :-1] - largest[:, 1:], (0, 0) * (x.dim() - 2) + (1, 0))
    sums = linear_rnn((x - largest).exp().flatten(2), shrinking.exp().flatten(2))
    return largest + sums.view_as(x).log()


@in_float32
@by_parts
def gsa(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    s: Tensor,
    g: Tensor | None = None,
    scale: float | None = None,
    initial_state: tuple[Tensor, Tensor] | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, list[Tensor | None]]:
    """Gated slot attention (arXiv:2409.07146): softmax attention over slots, into which `s` writes keys and values.

    `g` is the log of each slot's decay; without it the slots are means, by `additive_gate`. Several heads of queries
    may share keys, values and slots.
    """
    if g is None:
        s, g, _ = additive_gate(s)
    sharing = q.shape[2] // k.shape[2]
    if sharing > 1:
        k, v, s, g = (one.repeat_interleave(sharing, 2) for one in (k, v, s, g))
    keys, values = (None, None) if initial_state is None else initial_state
    if sharing > 1 and keys is not None and values is not None:
        keys, values = (one.repeat_interleave(sharing, 1) for one in (keys, values))
    found, keys = slot_recurrence(_scaled(q, scale), k, s, g, keys)
    o, values = linear_recurrence(found.softmax(-1), s, v, g, state=values)
    return o, [keys[:, ::sharing], values[:, ::sharing]] if output_final_state else [None, None]


@in_float32
def abc(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    s: Tensor,
    initial_state: tuple[Tensor, ...] | None = None,
    output_final_state: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...] | None]:
    """Attention with bounded memory (arXiv:2110.02488): each slot is a mean of keys and values with weights exp(s).

    The state is fla's, the keys and values of the slots, and the log of the sum of their weights, which the next steps
    need; if a state has only fla's two parts, the sums start from zero.
    """
    keys, values, sums = (*initial_state, None)[:3] if initial_state else (None, None, None)
    s, g, last_sum = additive_gate(s, sums)
    found, keys = slot_recurrence(_scaled(q, None), k, s, g, keys)
    o, values = linear_recurrence(found.softmax(-1), s, v, g, state=values)
    return o, (keys, values, last_sum) if output_final_state else None
