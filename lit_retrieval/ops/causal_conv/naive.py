"""A causal depthwise convolution and SiLU in plain PyTorch: the reference, for any device and dtype."""

import torch
from torch import Tensor
from torch.nn import functional as F


def causal_conv_naive(
    x: Tensor, weight: Tensor, bias: Tensor, state: Tensor | None = None, silu: bool = True
) -> tuple[Tensor, Tensor]:
    """A causal depthwise convolution as shifted products; arguments and results as in `causal_conv`."""
    time, kernel = x.shape[1], weight.shape[1]
    if state is None:
        state = x.new_zeros(x.shape[0], kernel - 1, x.shape[2])
    padded = torch.cat([state, x], 1)
    shifted = [padded[:, k : k + time] * weight[:, k] for k in range(kernel)]
    y = torch.stack(shifted).sum(0) + bias
    return F.silu(y) if silu else y, padded[:, time:]
