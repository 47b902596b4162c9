"""fla's attention residuals on a CPU (arXiv:2603.15031)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lit_retrieval.errors import UserError
from lit_retrieval.ops.half_precision import widen
from lit_retrieval.ops.rms_norm import rms_norm


def fused_attnres(
    query: Tensor,
    residuals: Sequence[Tensor],
    rms_weight: Tensor,
    output_rms_weight: Tensor | None = None,
    rms_eps: float = 1e-6,
    scale: float = 1.0,
    return_weights: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The mean of residuals, each `(..., dim)`, weighted by softmax(scale query norm(residual)) over them.

    Args:
        query: `(dim,)` or `(dim, 1)`.
        rms_weight: The weight of the norm, `(dim,)`.
        output_rms_weight: The weight of one more norm, of the mean.

    Returns:
        The mean and, with `return_weights`, the weights, `(residuals, ...)`.
    """
    if not residuals:
        raise UserError("residuals must have at least one tensor, got none")
    values = widen(torch.stack(tuple(residuals)))
    keys = rms_norm(values, widen(rms_weight).flatten(), rms_eps)
    weights = (keys @ (widen(query).flatten() * scale)).softmax(0)
    mean = torch.einsum("r...,r...d->...d", weights, values)
    if output_rms_weight is not None:
        mean = rms_norm(mean, widen(output_rms_weight).flatten(), rms_eps)
    mean = mean.to(residuals[0].dtype)
    return (mean, weights) if return_weights else mean
