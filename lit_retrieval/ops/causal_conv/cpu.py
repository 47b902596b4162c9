"""A causal depthwise convolution and SiLU in Numba, forward and backward, for float32 on a CPU.

PyTorch's convolution wants `(batch, dim, time)`, so a mixer would transpose twice around it; here `dim` stays last,
and the inner loops run over it. The backward computes the convolution again instead of keeping it.
"""

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from lit_retrieval.ops.arrays import run_kernel
from lit_retrieval.ops.vector_exp import FAST_MATH, vector_exp

_ONE = np.float32(1.0)


def causal_conv_cpu(x: Tensor, weight: Tensor, bias: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """A causal depthwise convolution and SiLU in Numba; arguments and results as in `causal_conv`."""
    if state is None:
        state = x.new_zeros(x.shape[0], weight.shape[1] - 1, x.shape[2])
    y, last_state = _CausalConv.apply(  # type: ignore[no-untyped-call]
        x.contiguous(), weight.t().contiguous(), bias.contiguous(), state.contiguous()
    )
    return y, last_state


class _CausalConv(torch.autograd.Function):
    """The convolution with gradients for everything it takes; `weight_t` is `(kernel, dim)`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_t: Tensor, bias: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y, last_state = torch.empty_like(x), torch.empty_like(state)
        run_kernel(_forward, x, weight_t, bias, state, y, last_state)
        ctx.save_for_backward(x, weight_t, bias, state)
        ctx.set_materialize_grads(False)
        return y, last_state

    @staticmethod
    def backward(ctx: Any, *output_grads: Tensor | None) -> tuple[Tensor, ...]:
        x, weight_t, bias, state = ctx.saved_tensors
        y_grad, last_state_grad = output_grads
        y_grad = torch.zeros_like(x) if y_grad is None else y_grad.contiguous()
        last_state_grad = torch.zeros_like(state) if last_state_grad is None else last_state_grad.contiguous()
        x_grad, state_grad = torch.empty_like(x), torch.empty_like(state)
        # One for each sample: the samples run at the same time.
        weight_grad, bias_grad = x.new_zeros(len(x), *weight_t.shape), x.new_zeros(len(x), *bias.shape)
        grads = (x_grad, weight_grad, bias_grad, state_grad)
        run_kernel(_backward, x, weight_t, bias, state, y_grad, last_state_grad, *grads)
        return x_grad, weight_grad.sum(0), bias_grad.sum(0), state_grad


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _forward(x: Any, weight: Any, bias: Any, state: Any, y: Any, last_state: Any) -> None:
    batch, time, dim = x.shape
    kernel = weight.shape[0]
    for b in prange(batch):
        padded = np.empty((kernel - 1 + time, dim), np.float32)
        _join(state[b], x[b], padded)
        total = np.empty(dim, np.float32)
        for t in range(time):
            _convolve(padded[t : t + kernel], weight, bias, total)
            y_t = y[b, t]
            for d in range(dim):
                y_t[d] = total[d] / (_ONE + vector_exp(-total[d]))
        last_state[b] = padded[time:]


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _join(first: Any, second: Any, joined: Any) -> None:
    for t in range(joined.shape[0]):
        source = first[t] if t < first.shape[0] else second[t - first.shape[0]]
        for d in range(joined.shape[1]):
            joined[t, d] = source[d]


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _convolve(window: Any, weight: Any, bias: Any, total: Any) -> None:
    for d in range(total.shape[0]):
        total[d] = bias[d]
    for k in range(weight.shape[0]):
        x_k, weight_k = window[k], weight[k]
        for d in range(total.shape[0]):
            total[d] += x_k[d] * weight_k[d]


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _backward(
    x: Any, weight: Any, bias: Any, state: Any, y_grad: Any, last_state_grad: Any,
    x_grad: Any, weight_grad: Any, bias_grad: Any, state_grad: Any,
) -> None:  # fmt: skip
    batch, time, dim = x.shape
    kernel = weight.shape[0]
    for b in prange(batch):
        padded = np.empty((kernel - 1 + time, dim), np.float32)
        _join(state[b], x[b], padded)
        padded_grad = np.zeros((kernel - 1 + time, dim), np.float32)
        padded_grad[time:] = last_state_grad[b]
        total, total_grad, bias_grad_b = np.empty(dim, np.float32), np.empty(dim, np.float32), bias_grad[b]
        for t in range(time):
            _convolve(padded[t : t + kernel], weight, bias, total)
            y_grad_t = y_grad[b, t]
            for d in range(dim):
                sigmoid = _ONE / (_ONE + vector_exp(-total[d]))
                total_grad[d] = y_grad_t[d] * sigmoid * (_ONE + total[d] * (_ONE - sigmoid))
                bias_grad_b[d] += total_grad[d]
            _convolve_backward(padded[t : t + kernel], weight, total_grad, padded_grad[t : t + kernel], weight_grad[b])
        state_grad[b], x_grad[b] = padded_grad[: kernel - 1], padded_grad[kernel - 1 :]


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _convolve_backward(window: Any, weight: Any, total_grad: Any, window_grad: Any, weight_grad: Any) -> None:
    for k in range(weight.shape[0]):
        x_k, weight_k, x_grad_k, weight_grad_k = window[k], weight[k], window_grad[k], weight_grad[k]
        for d in range(total_grad.shape[0]):
            x_grad_k[d] += total_grad[d] * weight_k[d]
            weight_grad_k[d] += total_grad[d] * x_k[d]
