"""fla's losses on a CPU, with the names and arguments of its functions; computed in float32."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.errors import UserError


def cross_entropy_fwd(
    logits: Tensor,
    target: Tensor,
    label_smoothing: float = 0.0,
    logit_scale: float = 1.0,
    lse_square_scale: float = 0.0,
    logit_softcapping: float | None = None,
    ignore_index: int = -100,
    process_group: Any = None,
) -> tuple[Tensor, Tensor, Tensor, int, int]:
    """Cross entropy of each row of `logits (rows, classes)`, plus a penalty of the squared log of its denominator.

    Returns:
        The losses, the penalties in them, the logs of the denominators, all `(rows,)`, the number of classes, and 0.
    """
    if process_group is not None:
        raise UserError("a vocabulary that is split among processes runs on GPUs only; leave process_group out")
    z, classes = _logits(logits, logit_scale, logit_softcapping), logits.shape[1]
    is_kept = target != ignore_index
    lse = z.logsumexp(-1)
    right = z.gather(1, target.clamp(0, classes - 1).unsqueeze(1)).squeeze(1)
    loss = lse - (1 - label_smoothing) * right - label_smoothing * z.mean(-1)
    penalty = lse_square_scale * lse.square() * is_kept
    return loss * is_kept + penalty, penalty, lse, classes, 0


def cross_entropy_bwd(
    logits: Tensor,
    target: Tensor,
    lse: Tensor,
    dloss: Tensor,
    label_smoothing: float = 0.0,
    logit_scale: float = 1.0,
    lse_square_scale: float = 0.0,
    logit_softcapping: float | None = None,
    ignore_index: int = -100,
    total_classes: int | None = None,
    class_start_idx: int = 0,
    inplace_backward: bool = False,
) -> Tensor:
    """The gradient of `cross_entropy_fwd` for the logits, in their place if asked."""
    z, classes = _logits(logits, logit_scale, logit_softcapping), logits.shape[1]
    dz = (z - lse.unsqueeze(1)).exp() * (1 + 2 * lse_square_scale * lse).unsqueeze(1) - label_smoothing / classes
    right = target.clamp(0, classes - 1).unsqueeze(1)
    dz.scatter_add_(1, right, dz.new_full((), label_smoothing - 1).expand(right.shape))
    dz *= (logit_scale * dloss * (target != ignore_index)).unsqueeze(1)
    if logit_softcapping is not None:
        dz *= 1 - (z / logit_softcapping).square()
    return logits.copy_(dz) if inplace_backward else dz.to(logits.dtype)


def _logits(logits: Tensor, scale: float, softcapping: float | None) -> Tensor:
    """The logits in float32, times a scale, and at most `softcapping` from 0."""
    z = logits.float() * scale
    return z if softcapping is None else softcapping * (z / softcapping).tanh()


def cross_entropy_forward(layer: Any, input: Tensor, target: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    """In place of fla's `FusedCrossEntropyLoss.forward`, which refuses a CPU."""
    from fla.modules.fused_cross_entropy.ops import cross_entropy_loss

    names = ("label_smoothing", "logit_scale", "lse_square_scale", "logit_softcapping", "ignore_index")
    options = {name: getattr(layer, name) for name in (*names, "inplace_backward", "process_group")}
    losses: tuple[Tensor, Tensor] = cross_entropy_loss(input, target, **options)
    if layer.reduction != "none":
        count = (target != layer.ignore_index).sum() if layer.reduction == "mean" else 1
        losses = losses[0].sum() / count, losses[1].sum() / count
    return losses if layer.return_z_loss else losses[0]


def logsumexp_fwd(
    x: Tensor, scale: float | None = None, softcapping: float | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """The log of the sum of exp over the last dimension."""
    return _logits(x, 1.0 if scale is None else scale, softcapping).logsumexp(-1).to(dtype or torch.float32)


def fused_linear_cross_entropy_bwd(
    do: Tensor, dx: Tensor, dw: Tensor | None, db: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The gradients, which were computed in the forward, times that of the loss."""
    return dx * do, None if dw is None else dw * do, None if db is None else db * do


def fused_kl_div_fwd(
    x: Tensor,
    target_x: Tensor,
    weight: Tensor,
    target_weight: Tensor,
    reduction: str = "batchmean",
    accumulate_grad_in_fp32: bool = True,
    use_dx: bool = True,
    use_dw: bool = True,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The Kullback-Leibler divergence of a student's classes from a teacher's, and its gradients.

    `x` and `target_x` are `(rows, dim)`, and the weights `(classes, dim)`.
    """
    logs, wanted = (F.linear(*pair).float().log_softmax(-1) for pair in ((x, weight), (target_x, target_weight)))
    count = len(x) if reduction == "batchmean" else 1
    dlogits = (logs.exp() - wanted.exp()) / count
    loss = (wanted.exp() * (wanted - logs)).sum() / count
    dx = (dlogits @ weight.float()).to(x.dtype) if use_dx else None
    return loss, dx, (dlogits.T @ x.float()).to(weight.dtype) if use_dw else None


def fused_kl_div_bwd(do: Tensor, dx: Tensor | None, dw: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """The gradients, which were computed in the forward, times that of the loss."""
    return None if dx is None else dx * do, None if dw is None else dw * do
