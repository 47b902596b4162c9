"""BitNet's linear layer on a CPU, against its formulas written out in float64."""

import pytest
import torch
from torch import Tensor

from lit_retrieval.ops.fla_cpu.bit_linear import layer_norm_linear_quant


def normed(x: Tensor, weight: Tensor, bias: Tensor | None, is_rms_norm: bool) -> Tensor:
    centered = x if is_rms_norm else x - x.mean(-1, keepdim=True)
    y = centered / (centered.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight
    return y if bias is None else y + bias


@pytest.mark.parametrize("is_rms_norm", [True, False])
@pytest.mark.parametrize("has_residual", [True, False])
def test_rounding_is_seen_by_outputs_and_passed_by_gradients(is_rms_norm, has_residual):
    torch.manual_seed(0)
    x, residual, grad = torch.randn(2, 3, 8), torch.randn(2, 3, 8), torch.randn(2, 3, 5)
    scale, shift, weight, bias = (
        torch.randn(8),
        None if is_rms_norm else torch.randn(8),
        torch.randn(5, 8),
        torch.randn(5),
    )
    leaves = [one.requires_grad_() for one in (x, scale, weight, bias)]
    residual = residual if has_residual else None
    out, total = layer_norm_linear_quant(x, scale, shift, weight, bias, residual, prenorm=True, is_rms_norm=is_rms_norm)
    grads = torch.autograd.grad(out, leaves, grad)

    exact_x, exact_scale = (one.detach().double().requires_grad_() for one in (x, scale))
    sum_of_both = exact_x if residual is None else exact_x + residual.double()
    y = normed(sum_of_both, exact_scale, None if shift is None else shift.double(), is_rms_norm)
    step = y.abs().amax(-1, keepdim=True) / 127
    rounded, mean = (y / step).round() * step, weight.double().abs().mean()
    ternary = (weight.double() / mean).round().clamp(-1, 1) * mean
    torch.testing.assert_close(out.double(), rounded @ ternary.T + bias.double(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(total.double(), sum_of_both)
    expected = torch.autograd.grad(y, [exact_x, exact_scale], grad.double() @ ternary)
    expected += (torch.einsum("bto,bti->oi", grad.double(), rounded), grad.double().sum((0, 1)))
    for actual, wanted in zip(grads, expected, strict=True):
        torch.testing.assert_close(actual.double(), wanted, rtol=1e-5, atol=1e-5)


def test_half_precision_stays_half():
    x, weight = torch.randn(3, 8).bfloat16(), torch.randn(5, 8).bfloat16()
    out = layer_norm_linear_quant(x, torch.ones(8), None, weight, None, is_rms_norm=True)
    exact = layer_norm_linear_quant(x.float(), torch.ones(8), None, weight.float(), None, is_rms_norm=True)
    assert isinstance(out, Tensor) and isinstance(exact, Tensor) and out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), exact, rtol=2e-2, atol=5e-2)
