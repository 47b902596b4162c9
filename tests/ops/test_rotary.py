"""Rotary positions against complex numbers in float64."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lit_retrieval.ops import rotate
from lit_retrieval.ops.rotary import rotate_cpu, rotate_naive


def rotate_complex(x: torch.Tensor, start: int, base: float) -> torch.Tensor:
    """The definition: neighbors are the parts of a complex number, which is multiplied by exp(i p base^(-2j/dim))."""
    positions, dim = torch.arange(start, start + x.shape[1], dtype=torch.float64), x.shape[3]
    angles = torch.outer(positions, base ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim))
    pairs = torch.view_as_complex(x.double().unflatten(3, (dim // 2, 2)))
    return torch.view_as_real(pairs * torch.exp(1j * angles)[:, None]).flatten(3)


@pytest.mark.parametrize("start", [0, 1, 613])
@pytest.mark.parametrize("shape", [(2, 1, 3, 16), (2, 63, 4, 8), (3, 9, 1, 24), (2, 7, 2, 6), (0, 4, 2, 16)], ids=str)
def test_values_and_gradients_are_those_of_complex_numbers(shape, start):
    x = torch.randn(shape, requires_grad=True)
    weight = torch.randn(shape, dtype=torch.float64)
    for one, tolerance in ((x, 2e-6), (x.double(), 1e-13)):  # float32 rounds to 6e-8, and so does its table
        y, wanted = rotate(one, start, 1e4), rotate_complex(x, start, 1e4)
        assert y.dtype == one.dtype and y.shape == shape
        torch.testing.assert_close(y.double(), wanted, rtol=0, atol=tolerance)
        grads = [torch.autograd.grad((out * weight).sum(), x)[0] for out in (y, wanted)]
        torch.testing.assert_close(*grads, rtol=0, atol=2e-6)


@pytest.mark.parametrize("has_autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype, has_autocast):
    x = torch.randn(2, 9, 3, 16).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=has_autocast):
        y = rotate(x, 3, 1e4)
    assert torch.equal(y, rotate_naive(x.float(), _turns(12, 16), 3).to(dtype))


def _turns(positions: int, dim: int) -> torch.Tensor:
    angles = torch.outer(torch.arange(positions).double(), 1e4 ** (-torch.arange(0, dim, 2).double() / dim))
    angles = angles.repeat_interleave(2, 1)
    signs = torch.tensor([-1.0, 1.0], dtype=torch.float64).repeat(dim // 2)
    return torch.stack([angles.cos(), signs * angles.sin()], 1).float()


def test_the_kernel_takes_any_layout_and_any_number_of_threads():
    x, turns = torch.randn(40, 3, 9, 16).transpose(1, 2), _turns(20, 16)  # two threads take so many elements
    wanted, before = rotate_naive(x, turns, 5), torch.get_num_threads()
    try:
        for num_threads in (1, 2):
            torch.set_num_threads(num_threads)
            torch.testing.assert_close(rotate_cpu(x, turns, 5), wanted)
    finally:
        torch.set_num_threads(before)


def test_second_derivatives_are_an_error_in_float32_and_right_in_float64():
    x = torch.randn(1, 3, 1, 8, requires_grad=True)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(rotate(x, 1, 1e4).square().sum(), x, create_graph=True)
    x = x.detach().double().requires_grad_()
    grad = torch.autograd.grad(rotate(x, 1, 1e4).pow(3).sum(), x, create_graph=True)[0]
    expected = torch.autograd.grad(rotate_complex(x, 1, 1e4).pow(3).sum(), x, create_graph=True)[0]
    torch.testing.assert_close(*(torch.autograd.grad(one.sum(), x)[0] for one in (grad, expected)))


class RefuseComplex(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        assert not any(one.is_complex() for one in tree_leaves(result) if isinstance(one, torch.Tensor)), func
        return result


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
def test_no_number_is_complex(dtype):
    """CUDA has no complex bfloat16, that of float16 is experimental, and compilers see through neither."""
    with RefuseComplex():
        x = torch.randn(2, 5, 3, 16, dtype=dtype, requires_grad=True)
        y = rotate(x, 0, 99.0)
        y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype
