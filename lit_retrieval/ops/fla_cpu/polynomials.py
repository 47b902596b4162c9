"""Linear attention with polynomials of q k on a CPU, with the arguments of fla's functions: Based and ReBased.

Rows of 128 queries at a time meet all keys before them: up to some thousand tokens that is less work than a state of
all products of two elements of a key.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from lit_retrieval.ops.fla_cpu.recurrences import _scaled
from lit_retrieval.ops.half_precision import in_float32

_ROWS = 128


def based(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None, use_norm: bool = True) -> Tensor:
    """Based (arXiv:2402.18668): weights 1 + q k + (q k)^2 / 2, the first terms of exp(q k)."""
    return _attend(q, k, v, scale, _exp_to_second_order, 1e-6 if use_norm else None)[0]


def rebased(
    q: Tensor, k: Tensor, v: Tensor, eps: float = 1e-5, use_scale: bool = True, use_normalize: bool = True,
    return_both: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
    """ReBased (arXiv:2402.10644): weights (q k)^2; `return_both` gives the sums of weights too, heads first."""
    has_norm = use_normalize and not return_both
    o, sums = _attend(q, k, v, None if use_scale else 1.0, torch.square, eps if has_norm else None)
    return (o.transpose(1, 2), sums.squeeze(-1).transpose(1, 2)) if return_both else o


def _exp_to_second_order(scores: Tensor) -> Tensor:
    return 1 + scores + scores.square() / 2


@in_float32
def _attend(
    q: Tensor, k: Tensor, v: Tensor, scale: float | None, weigh: Callable[[Tensor], Tensor], eps: float | None
) -> tuple[Tensor, Tensor]:
    """Sums of values, divided by those of the weights if there is an `eps`, and these, `(batch, time, heads, 1)`."""
    q, k, v = (one.transpose(1, 2) for one in (_scaled(q, scale), k, v))
    outputs, sums = [], []
    for start in range(0, q.shape[2], _ROWS):
        rows = q[:, :, start : start + _ROWS]
        stop = start + rows.shape[2]
        weights = weigh(rows @ k[:, :, :stop].mT).tril(start)
        outputs.append(weights @ v[:, :, :stop])
        sums.append(weights.sum(-1, keepdim=True))
    o, total = torch.cat(outputs, 2).transpose(1, 2), torch.cat(sums, 2).transpose(1, 2)
    return o if eps is None else o / (total + eps), total
