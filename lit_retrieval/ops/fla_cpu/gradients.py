"""Gradients of a function by running it again, for fla's separate backward functions."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def gradients_of(
    function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor | None], output_grads: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Run `function` again and return the gradients of its inputs, None for an input that is None.

    `output_grads` has one gradient for each output, None for an output without one.
    """
    leaves = [None if tensor is None else tensor.detach().requires_grad_() for tensor in inputs]
    with torch.enable_grad():
        outputs = function(*leaves)
    pairs = [(output, grad) for output, grad in zip(outputs, output_grads, strict=True) if grad is not None]
    present = [leaf for leaf in leaves if leaf is not None]
    grads = iter(
        torch.autograd.grad([output for output, _ in pairs], present, [grad for _, grad in pairs], allow_unused=True)
    )
    return [None if leaf is None else next(grads) for leaf in leaves]
