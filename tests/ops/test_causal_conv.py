"""The convolution against PyTorch's own; `test_every_op.py` has the rest."""

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops import causal_conv
from lit_retrieval.ops.causal_conv import causal_conv_naive

BATCH, DIM, KERNEL = 3, 20, 4


def draw(time: int, kernel: int = KERNEL) -> list[Tensor]:
    generator = torch.Generator().manual_seed(time)
    shapes = (BATCH, time, DIM), (DIM, kernel), (DIM,), (BATCH, kernel - 1, DIM)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def test_naive_is_conv1d_padded_on_the_left():
    x, weight, bias, _ = draw(9)
    padded = F.pad(x.transpose(1, 2), (KERNEL - 1, 0))
    sums = F.conv1d(padded, weight.unsqueeze(1), bias, groups=DIM).transpose(1, 2)
    for silu, wanted in ((True, F.silu(sums)), (False, sums)):
        torch.testing.assert_close(causal_conv_naive(x, weight, bias, silu=silu)[0], wanted)


def test_kernel_of_one_remembers_nothing():
    x, weight, bias, state = draw(3, kernel=1)
    y, last = causal_conv(x, weight, bias, state)
    assert last.shape == (BATCH, 0, DIM)
    torch.testing.assert_close(y, F.silu(x * weight[:, 0] + bias))
