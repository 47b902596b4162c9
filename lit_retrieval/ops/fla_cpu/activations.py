"""fla's activation functions and their gradients on a CPU; each has the name and the arguments of fla's own.

As in fla's kernels, half precision is computed in float32, and all results have the dtype of the first tensor.
`output_contiguous` is ignored: PyTorch's outputs are contiguous. Functions named `..._fwdbwd` return the gradients of a
gated unit, gate(x) y, for x and y, and with `use_weight` the product again.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops.fla_cpu.gradients import gradients_of
from lit_retrieval.ops.half_precision import widen

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _rounded_once(function: _Function) -> _Function:
    """The function on widened tensors, whose results get the dtype of the first one."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        dtype = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)).dtype
        found = function(*map(widen, args), **{name: widen(value) for name, value in kwargs.items()})
        return found.to(dtype) if isinstance(found, Tensor) else tuple(one.to(dtype) for one in found)

    return cast(_Function, run)


def swish_fwd(x: Tensor, output_contiguous: bool = False) -> Tensor:
    """Swish, or SiLU: x sigmoid(x)."""
    return F.silu(x)


@_rounded_once
def swish_bwd(x: Tensor, dy: Tensor, output_contiguous: bool = False) -> Tensor:
    """The gradient of `swish_fwd`."""
    sigmoid = x.sigmoid()
    return dy * sigmoid * (1 + x * (1 - sigmoid))


def sigmoid_fwd(x: Tensor, output_contiguous: bool = False) -> Tensor:
    """The logistic function, 1 / (1 + exp(-x))."""
    return x.sigmoid()


@_rounded_once
def sigmoid_bwd(x: Tensor, dy: Tensor, output_contiguous: bool = False) -> Tensor:
    """The gradient of `sigmoid_fwd`."""
    sigmoid = x.sigmoid()
    return dy * sigmoid * (1 - sigmoid)


@_rounded_once
def logsigmoid_fwd(x: Tensor, temperature: float = 1.0, output_contiguous: bool = False) -> Tensor:
    """The log of the logistic function, divided by a temperature."""
    return F.logsigmoid(x) / temperature


@_rounded_once
def logsigmoid_bwd(x: Tensor, dy: Tensor, temperature: float = 1.0, output_contiguous: bool = False) -> Tensor:
    """The gradient of `logsigmoid_fwd`."""
    return dy * (-x).sigmoid() / temperature


@_rounded_once
def elu_p1_fwd(x: Tensor) -> Tensor:
    """ELU(x) + 1, always positive."""
    return F.elu(x) + 1


@_rounded_once
def elu_p1_bwd(x: Tensor, dy: Tensor) -> Tensor:
    """The gradient of `elu_p1_fwd`."""
    return dy * torch.where(x > 0, 1.0, x.exp())


@_rounded_once
def swiglu_fwd(x: Tensor, y: Tensor, output_contiguous: bool = False) -> Tensor:
    """SwiGLU's product, SiLU(x) y."""
    return F.silu(x) * y


@_rounded_once
def swiglu_fwdbwd(
    x: Tensor, y: Tensor, g: Tensor, use_weight: bool = False, output_contiguous: bool = False
) -> tuple[Tensor, ...]:
    """The gradients of `swiglu_fwd`."""
    gate = F.silu(x)
    grads = swish_bwd(x, g * y), g * gate
    return (*grads, gate * y) if use_weight else grads


@_rounded_once
def sigmoidglu_fwd(x: Tensor, y: Tensor, output_contiguous: bool = False) -> Tensor:
    """The product sigmoid(x) y."""
    return x.sigmoid() * y


@_rounded_once
def sigmoidglu_fwdbwd(
    x: Tensor, y: Tensor, g: Tensor, use_weight: bool = False, output_contiguous: bool = False
) -> tuple[Tensor, ...]:
    """The gradients of `sigmoidglu_fwd`."""
    gate = x.sigmoid()
    grads = sigmoid_bwd(x, g * y), g * gate
    return (*grads, gate * y) if use_weight else grads


@_rounded_once
def powglu_fwd(x: Tensor, y: Tensor, power: float = 3.0, output_contiguous: bool = False) -> Tensor:
    """The product of y and x^(power / (sqrt(x) + 1)) sigmoid(x), or SiLU(x) where x is not positive."""
    return _power_gate(x, power) * y


@_rounded_once
def powglu_fwdbwd(
    x: Tensor, y: Tensor, g: Tensor, power: float = 3.0, use_weight: bool = False, output_contiguous: bool = False
) -> tuple[Tensor, ...]:
    """The gradients of `powglu_fwd`."""
    gate = _power_gate(x, power)
    (dx,) = gradients_of(lambda x: (_power_gate(x, power),), (x,), (g * y,))
    assert dx is not None
    grads = dx, g * gate
    return (*grads, gate * y) if use_weight else grads


def swiglu_linear(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear layer on `swiglu_fwd`; the backward pass of fla's own function fails under autocast on a CPU."""
    return F.linear(swiglu_fwd(x, y), weight, bias)


def powglu_linear(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None, power: float = 3.0) -> Tensor:
    """A linear layer on `powglu_fwd`; see `swiglu_linear`."""
    return F.linear(powglu_fwd(x, y, power), weight, bias)


def _power_gate(x: Tensor, power: float) -> Tensor:
    positive = torch.where(x > 0, x, 1.0)
    return x.sigmoid() * torch.where(x > 0, positive ** (power / (positive.sqrt() + 1)), x)
