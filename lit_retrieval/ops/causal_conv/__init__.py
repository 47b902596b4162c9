"""A short causal depthwise convolution, with or without SiLU, and the choice of its implementation."""

from torch import Tensor

from lit_retrieval.ops.arrays import runs_on_numba
from lit_retrieval.ops.causal_conv.cpu import causal_conv_cpu
from lit_retrieval.ops.causal_conv.naive import causal_conv_naive
from lit_retrieval.ops.shapes import check_shape

__all__ = ["causal_conv", "causal_conv_cpu", "causal_conv_naive"]


def causal_conv(
    x: Tensor, weight: Tensor, bias: Tensor, state: Tensor | None = None, silu: bool = True
) -> tuple[Tensor, Tensor]:
    """A causal depthwise convolution, then SiLU.

    y_t = silu(bias + sum_k weight_k x_{t - kernel + 1 + k}), k from 0 to kernel - 1  (as in Mamba,
    Gu and Dao 2023, arXiv:2312.00752).

    Args:
        x: Inputs, `(batch, time, dim)`.
        weight: One filter for each channel, oldest input first, `(dim, kernel)`.
        bias: `(dim,)`.
        state: The `kernel - 1` inputs before the first step, `(batch, kernel - 1, dim)`; zeros if absent.
        silu: Whether SiLU follows.

    Returns:
        The outputs, shaped like `x`, and the last `kernel - 1` inputs. Both carry gradients to every argument.
    """
    (batch, _, dim), kernel = x.shape, weight.shape[1]
    check_shape("weight", weight, (dim, kernel))
    check_shape("bias", bias, (dim,))
    check_shape("state", state, (batch, kernel - 1, dim))
    run = causal_conv_cpu if runs_on_numba(x, weight, bias, state) else causal_conv_naive
    return run(x, weight, bias, state, silu)
