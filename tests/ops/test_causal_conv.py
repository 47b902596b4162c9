"""The Numba convolution against the naive one in float64, and against PyTorch's own."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops import causal_conv
from lit_retrieval.ops.causal_conv import causal_conv_naive

BATCH, DIM, KERNEL = 3, 20, 4
TOLERANCE = 1e-5  # float32 rounds to 6e-8; the weight's gradient is a sum over some hundred steps


def draw(time: int, kernel: int = KERNEL) -> list[Tensor]:
    generator = torch.Generator().manual_seed(time)
    shapes = (BATCH, time, DIM), (DIM, kernel), (DIM,), (BATCH, kernel - 1, DIM)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def run_with_gradients(conv, tensors: list[Tensor]) -> list[Tensor]:
    tensors = [tensor.clone().requires_grad_() for tensor in tensors]
    y, state = conv(*tensors)
    loss = (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)).sum() + state.square().sum()
    return [y, state, *torch.autograd.grad(loss, tensors)]


@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("time", [1, 2, 63, 64, 100, 130])
def test_numba_agrees_with_naive_in_float64(time, with_state):
    tensors = draw(time)[: 4 if with_state else 3]
    results = run_with_gradients(causal_conv, tensors)
    expected = run_with_gradients(causal_conv_naive, [tensor.double() for tensor in tensors])
    for actual, wanted in zip(results, expected, strict=True):
        assert (actual - wanted).abs().max() <= TOLERANCE * wanted.abs().max()


def test_naive_is_conv1d_padded_on_the_left():
    x, weight, bias, _ = draw(9)
    padded = F.pad(x.transpose(1, 2), (KERNEL - 1, 0))
    expected = F.silu(F.conv1d(padded, weight.unsqueeze(1), bias, groups=DIM)).transpose(1, 2)
    torch.testing.assert_close(causal_conv_naive(x, weight, bias)[0], expected)


@pytest.mark.parametrize("split", [1, 2, 10])
def test_two_parts_equal_the_whole(split):
    x, weight, bias, state = draw(12)
    y, last = causal_conv(x, weight, bias, state)
    y_1, middle = causal_conv(x[:, :split], weight, bias, state)
    y_2, last_of_parts = causal_conv(x[:, split:], weight, bias, middle)
    torch.testing.assert_close(torch.cat([y_1, y_2], 1), y)
    torch.testing.assert_close(last_of_parts, last)


def test_kernel_of_one_remembers_nothing():
    x, weight, bias, state = draw(3, kernel=1)
    y, last = causal_conv(x, weight, bias, state)
    assert last.shape == (BATCH, 0, DIM)
    torch.testing.assert_close(y, F.silu(x * weight[:, 0] + bias))


def test_wrong_shapes_are_named():
    x, weight, bias, state = draw(3)
    with pytest.raises(ValueError, match=r"state has shape \(3, 2, 20\)"):
        causal_conv(x, weight, bias, state[:, :2])


def test_samples_of_a_large_batch_do_not_mix():
    x, weight, bias, state = draw(30)
    x, state = x.repeat(20, 1, 1), state.repeat(20, 1, 1)  # large enough for two threads
    y, last, x_grad, *_ = run_with_gradients(causal_conv, [x, weight, bias, state])
    expected, expected_last, expected_grad, *_ = run_with_gradients(
        causal_conv_naive, [tensor.double() for tensor in (x, weight, bias, state)]
    )
    for actual, wanted in ((y, expected), (last, expected_last), (x_grad, expected_grad)):
        torch.testing.assert_close(actual.double(), wanted, rtol=1e-4, atol=1e-5)
