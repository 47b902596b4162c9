"""fla's norms on a CPU: the forward and backward functions behind its layers, with their names and arguments.

Rows are `(rows, dim)`. A residual, if given, is added before the norm, and the sum is returned. As in fla's
kernels, half precision is computed in float32.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops.arrays import runs_on_numba
from lit_retrieval.ops.fla_cpu.gradients import gradients_of
from lit_retrieval.ops.half_precision import in_float32, widen
from lit_retrieval.ops.rms_norm import rms_norm
from lit_retrieval.ops.rms_norm.cpu import rms_norm_backward, rms_norm_forward
from lit_retrieval.ops.silu_gate import silu_gate
from lit_retrieval.ops.silu_gate.cpu import silu_gate_backward


def layer_norm_fwd(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    residual: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    residual_dtype: torch.dtype | None = None,
    is_rms_norm: bool = False,
    num_groups: int = 1,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """A layer norm or an RMS norm of each row; row i has the weight and bias of group i mod `num_groups`.

    Returns:
        The outputs, each row's mean (None for an RMS norm) and reciprocal deviation, and the rows that were normalized.
    """
    rows, kept = _summed(x, residual, residual_dtype)
    weight, bias = widen(weight), widen(bias)
    mean = None if is_rms_norm else rows.mean(-1)
    centered = rows if mean is None else rows - mean.unsqueeze(-1)
    rstd = torch.rsqrt(centered.square().mean(-1) + eps)
    if is_rms_norm and weight is not None and bias is None and num_groups == 1:
        y = rms_norm(rows, weight, eps)
    else:
        y = _scale(centered * rstd.unsqueeze(-1), weight, bias, num_groups)
    return y.to(out_dtype or x.dtype), mean, rstd, kept


def _summed(x: Tensor, residual: Tensor | None, residual_dtype: torch.dtype | None) -> tuple[Tensor, Tensor]:
    """The rows to normalize, and as they are kept: in the residual's dtype, or in `residual_dtype` if there is none."""
    rows = widen(x) if residual is None else widen(x) + widen(residual)
    return rows, rows.to((residual_dtype or x.dtype) if residual is None else residual.dtype)


def layer_norm_bwd(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    mean: Tensor | None = None,
    rstd: Tensor | None = None,
    dres: Tensor | None = None,
    has_residual: bool = False,
    is_rms_norm: bool = False,
    x_dtype: torch.dtype | None = None,
    recompute_output: bool = False,
    num_groups: int = 1,
) -> tuple[Tensor | None, ...]:
    """The gradients of `layer_norm_fwd` for x, weight, bias and the residual, and the outputs again if asked."""
    assert rstd is not None
    dweight: Tensor | None
    y_dtype, x_dtype = dy.dtype, x_dtype or x.dtype
    dy, x, weight, bias = widen(dy), widen(x), widen(weight), widen(bias)
    normed = (x if mean is None else x - mean.unsqueeze(-1)) * rstd.unsqueeze(-1)
    if is_rms_norm and weight is not None and bias is None and num_groups == 1 and runs_on_numba(x, weight, dy):
        dx, dweight = rms_norm_backward(x.contiguous(), weight, rstd, dy.contiguous())
        dbias = None
    else:
        scaled = _scale(dy, weight, None, num_groups)
        dx = rstd.unsqueeze(-1) * (scaled - normed * (scaled * normed).mean(-1, keepdim=True))
        if mean is not None:
            dx = dx - (rstd * scaled.mean(-1)).unsqueeze(-1)
        dweight = None if weight is None else (dy * normed).view(-1, num_groups * x.shape[-1]).sum(0)
        dbias = None if bias is None else dy.reshape(-1, num_groups * x.shape[-1]).sum(0)
    if dres is not None:
        dx = dx + dres
    grads = (dx.to(x_dtype), dweight, dbias, dx if has_residual else None)
    return (*grads, _scale(normed, weight, bias, num_groups).to(y_dtype)) if recompute_output else grads


def _scale(normed: Tensor, weight: Tensor | None, bias: Tensor | None, num_groups: int) -> Tensor:
    rows = normed.view(-1, num_groups, normed.shape[-1])
    if weight is not None:
        rows = rows * weight.view(num_groups, -1)
    if bias is not None:
        rows = rows + bias.view(num_groups, -1)
    return rows.view(normed.shape)


def layer_norm_gated_fwd(
    x: Tensor,
    g: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    activation: str = "swish",
    eps: float = 1e-5,
    residual: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    residual_dtype: torch.dtype | None = None,
    is_rms_norm: bool = False,
) -> tuple[Tensor, None, None, Tensor]:
    """A norm of each row of x, times an activation of g; returns the outputs and the rows that were normalized.

    The two Nones are fla's means and deviations, which our backward computes again.
    """
    rows, kept = _summed(x, residual, residual_dtype)
    (y,) = _gated_norm(rows, widen(g), widen(weight), widen(bias), activation, eps, is_rms_norm)
    return y.to(out_dtype or x.dtype), None, None, kept


def layer_norm_gated_bwd(
    dy: Tensor,
    x: Tensor,
    g: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    activation: str = "swish",
    eps: float = 1e-5,
    mean: None = None,
    rstd: None = None,
    dresidual: Tensor | None = None,
    has_residual: bool = False,
    is_rms_norm: bool = False,
    x_dtype: torch.dtype | None = None,
    recompute_output: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of `layer_norm_gated_fwd` for x, g, weight, bias and the residual, and the outputs if asked."""
    outputs: list[Tensor] = []
    y_dtype = dy.dtype
    dy, x, g, weight, bias = widen(dy), widen(x), widen(g), widen(weight), widen(bias)

    def run(x: Tensor, g: Tensor, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor]:
        outputs.append(_gated_norm(x, g, weight, bias, activation, eps, is_rms_norm)[0])
        return (outputs[0],)

    is_fused = is_rms_norm and bias is None and activation != "sigmoid" and not recompute_output
    if weight is not None and is_fused and runs_on_numba(x, g, weight, dy):
        gradients = [*_gated_rms_norm_backward(x, g, weight, eps, dy), None]
    else:
        gradients = gradients_of(run, (x, g, weight, bias), (dy,))
    dx, dg, dweight, dbias = gradients
    assert dx is not None
    if dresidual is not None:
        dx = dx + dresidual
    grads = (dx, dg, dweight, dbias, dx if has_residual else None)
    return (*grads, outputs[0].detach().to(y_dtype)) if recompute_output else grads


def _gated_rms_norm_backward(
    x: Tensor, g: Tensor, weight: Tensor, eps: float, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients for x, g and weight of an RMS norm with a SiLU gate, without running the gate again."""
    x = x.contiguous()
    normed, scale = rms_norm_forward(x, weight, eps)
    dnormed, dg = silu_gate_backward(normed, g.contiguous(), dy.contiguous())
    dx, dweight = rms_norm_backward(x, weight, scale, dnormed)
    return dx, dg, dweight


def _gated_norm(
    x: Tensor, g: Tensor, weight: Tensor | None, bias: Tensor | None, activation: str, eps: float, is_rms_norm: bool
) -> tuple[Tensor]:
    if not is_rms_norm:
        normed = F.layer_norm(x, x.shape[-1:], weight, bias, eps)
    else:
        normed = rms_norm(x, torch.ones_like(x[0]) if weight is None else weight, eps)
        normed = normed if bias is None else normed + bias
    return (normed * g.sigmoid() if activation == "sigmoid" else silu_gate(normed, g),)


@in_float32
def _gated_group_norm(
    x: Tensor, weight: Tensor, bias: Tensor | None, z: Tensor | None, eps: float, group_size: int | None,
    norm_before_gate: bool, is_rms_norm: bool,
) -> tuple[Tensor]:  # fmt: skip
    """A norm of groups of channels, and a SiLU gate before or after it."""
    x = x if z is None or norm_before_gate else silu_gate(x, z)
    groups = x.reshape(*x.shape[:-1], -1, group_size or x.shape[-1])
    if not is_rms_norm:
        groups = groups - groups.mean(-1, keepdim=True)
    normed = rms_norm(groups, groups.new_ones(groups.shape[-1]), eps).flatten(-2) * weight
    normed = normed if bias is None else normed + bias
    return (silu_gate(normed, z) if z is not None and norm_before_gate else normed,)


def layernorm_fn(
    x: Tensor, weight: Tensor, bias: Tensor | None, z: Tensor | None = None, eps: float = 1e-6,
    group_size: int | None = None, norm_before_gate: bool = True, is_rms_norm: bool = False,
) -> Tensor:  # fmt: skip
    """A layer norm of x, `(..., dim)`, over groups of channels, times SiLU(z) after the norm or before it."""
    return _gated_group_norm(x, weight, bias, z, eps, group_size, norm_before_gate, is_rms_norm)[0]


def rmsnorm_fn(
    x: Tensor, weight: Tensor, bias: Tensor | None, z: Tensor | None = None, eps: float = 1e-6,
    group_size: int | None = None, norm_before_gate: bool = True,
) -> Tensor:  # fmt: skip
    """The same as `layernorm_fn`, with an RMS norm."""
    return layernorm_fn(x, weight, bias, z, eps, group_size, norm_before_gate, is_rms_norm=True)


def l2norm_fwd(x: Tensor, eps: float = 1e-6, output_dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
    """Each vector divided by its length; returns the unit vectors and one over each length."""
    rows = widen(x)
    rstd = torch.rsqrt(rows.square().sum(-1) + eps)
    return (rows * rstd.unsqueeze(-1)).to(output_dtype or x.dtype), rstd


def l2norm_bwd(y: Tensor, rstd: Tensor, dy: Tensor, eps: float = 1e-6) -> Tensor:
    """The gradient of `l2norm_fwd` for its input, from its outputs."""
    y, dy = widen(y), widen(dy)
    return (dy - (dy * y).sum(-1, keepdim=True) * y) * rstd.unsqueeze(-1)
