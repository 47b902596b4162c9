"""The Numba gate against PyTorch in float64."""

import pytest
import torch

from lit_retrieval.ops import silu_gate
from lit_retrieval.ops.silu_gate import silu_gate_naive


@pytest.mark.parametrize("shape", [(1,), (3, 63, 5), (2, 2048), (3, 100, 64)])
def test_numba_agrees_with_naive_in_float64(shape):
    generator = torch.Generator().manual_seed(0)
    x, gate, y_grad = (3 * torch.randn(shape, generator=generator) for _ in range(3))
    x, gate = x.requires_grad_(), gate.requires_grad_()
    x_double, gate_double = (tensor.detach().double().requires_grad_() for tensor in (x, gate))
    y, expected = silu_gate(x, gate), silu_gate_naive(x_double, gate_double)
    grads = torch.autograd.grad(y, (x, gate), y_grad)
    expected_grads = torch.autograd.grad(expected, (x_double, gate_double), y_grad.double())
    for actual, wanted in zip((y, *grads), (expected, *expected_grads), strict=True):
        torch.testing.assert_close(actual.double(), wanted, rtol=1e-5, atol=1e-5)


def test_closed_and_open_gates_stay_finite():
    y = silu_gate(torch.ones(2), torch.tensor([-1e4, 1e4]))
    torch.testing.assert_close(y, torch.tensor([0.0, 1e4]))


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"gate has shape \(3,\)"):
        silu_gate(torch.zeros(2), torch.zeros(3))
