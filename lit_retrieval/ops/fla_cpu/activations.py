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


def swiglu_fwd(x: Tensor, y: Tensor, output_contiguous: bool = False) -> Tensor:
    """SwiGLU's product, SiLU(x) y."""
    return F.silu(x) * y


def swiglu_fwdbwd(
    x: Tensor, y: Tensor, g: Tensor, use_weight: bool = False, output_contiguous: bool = False
) -> tuple[Tensor, ...]:
    """The gradients of `swiglu_fwd` for x and y, and the product again if asked."""
    grads = swish_bwd(x, g * y), g * F.silu(x)
    return (*grads, swiglu_fwd(x, y)) if use_weight else grads
