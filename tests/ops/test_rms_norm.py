"""The Numba normalisation against PyTorch's in float64."""

import pytest
import torch

from lit_retrieval.ops import rms_norm
from lit_retrieval.ops.rms_norm import rms_norm_naive


@pytest.mark.parametrize("rows", [1, 63, 64, 100])
def test_numba_agrees_with_naive_in_float64(rows):
    generator = torch.Generator().manual_seed(rows)
    x, weight, y_grad = (torch.randn(shape, generator=generator) for shape in ((2, rows, 24), (24,), (2, rows, 24)))
    x, weight = x.requires_grad_(), weight.requires_grad_()
    x_double, weight_double = (tensor.detach().double().requires_grad_() for tensor in (x, weight))
    y, expected = rms_norm(x, weight, 1e-5), rms_norm_naive(x_double, weight_double, 1e-5)
    grads = torch.autograd.grad(y, (x, weight), y_grad)
    expected_grads = torch.autograd.grad(expected, (x_double, weight_double), y_grad.double())
    for actual, wanted in zip((y, *grads), (expected, *expected_grads), strict=True):
        torch.testing.assert_close(actual.double(), wanted, rtol=1e-5, atol=1e-5)


def test_zeros_stay_zeros():
    assert torch.equal(rms_norm(torch.zeros(2, 3, 4), torch.ones(4)), torch.zeros(2, 3, 4))


def test_wrong_weight_is_named():
    with pytest.raises(ValueError, match=r"weight has shape \(5,\)"):
        rms_norm(torch.zeros(2, 4), torch.ones(5))
