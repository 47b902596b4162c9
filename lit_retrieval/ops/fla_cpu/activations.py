"""fla's activation functions and their gradients on a CPU; each has the name and the arguments of fla's own.

`output_contiguous` is ignored: PyTorch's outputs are contiguous.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def swish_fwd(x: Tensor, output_contiguous: bool = False) -> Tensor:
    """Swish, or SiLU: x sigmoid(x)."""
    return F.silu(x)


def swish_bwd(x: Tensor, dy: Tensor, output_contiguous: bool = False) -> Tensor:
    """The gradient of `swish_fwd`."""
    sigmoid = x.sigmoid()
    return dy * sigmoid * (1 + x * (1 - sigmoid))


def sigmoid_fwd(x: Tensor, output_contiguous: bool = False) -> Tensor:
    """The logistic function, 1 / (1 + exp(-x))."""
    return x.sigmoid()


def sigmoid_bwd(x: Tensor, dy: Tensor, output_contiguous: bool = False) -> Tensor:
    """The gradient of `sigmoid_fwd`."""
    sigmoid = x.sigmoid()
    return dy * sigmoid * (1 - sigmoid)


def elu_p1_fwd(x: Tensor) -> Tensor:
    """ELU(x) + 1, always positive."""
    return F.elu(x) + 1


def elu_p1_bwd(x: Tensor, dy: Tensor) -> Tensor:
    """The gradient of `elu_p1_fwd`."""
    return dy * torch.where(x > 0, 1.0, x.exp())
