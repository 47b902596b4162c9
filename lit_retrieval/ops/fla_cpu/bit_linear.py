"""The linear layer of BitNet on a CPU: a norm, inputs of 8 bits and weights of three values (arXiv:2402.17764)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops.half_precision import product_dtype, widen


def layer_norm_linear_quant(
    x: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    residual: Tensor | None = None,
    eps: float = 1e-6,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
    is_rms_norm: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """A norm of `x (..., dim)`, plus a residual if given, and a product with weights, both rounded.

    Gradients pass the rounding as if it were not there. With `prenorm` the rows that were normalized are returned too.
    """
    total = widen(x) if residual is None else widen(x) + residual
    keeps = torch.float32 if residual_in_fp32 else x.dtype
    rows = total.to(keeps if residual is None else residual.dtype)
    weight, bias = widen(norm_weight), widen(norm_bias)
    centered = total if is_rms_norm else total - total.mean(-1, keepdim=True)
    y = centered * (centered.square().mean(-1, keepdim=True) + eps).rsqrt()
    y = y if weight is None else y * weight
    y = y if bias is None else y + bias
    dtype = product_dtype(x)
    inputs, weights = _as_if_exact(y, _in_8_bits(y)).to(dtype), _as_if_exact(linear_weight, _ternary(linear_weight))
    out = F.linear(inputs, weights.to(dtype), None if linear_bias is None else linear_bias.to(dtype))
    return (out, rows) if prenorm else out


def _as_if_exact(x: Tensor, rounded: Tensor) -> Tensor:
    return x + (rounded - x).detach()


def _in_8_bits(x: Tensor) -> Tensor:
    scale = 127 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
    scaled = x * scale
    return torch.where(scaled >= 0, (scaled + 0.5).floor(), (scaled - 0.5).ceil()).clamp(-128, 127) / scale


def _ternary(weight: Tensor) -> Tensor:
    scale = 1 / weight.abs().mean().clamp(min=1e-5)
    return (weight * scale).round().clamp(-1, 1) / scale
