"""A causal depthwise convolution, with SiLU or without, in Numba, forward and backward, for float32 on a CPU.

PyTorch's convolution takes `(batch, dim, time)`, so a mixer would transpose before and after it. Here `dim` stays last,
and 8, 16 or 32 channels are one SIMD vector, see `ops/lanes.py`. The backward recomputes the convolution instead of
storing it. Each thread takes whole samples.
"""

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops.arrays import run_kernel
from lit_retrieval.ops.lanes import (
    WIDTH,
    add,
    add_product,
    load,
    load_scalar,
    pointer,
    store,
    store_scalar,
    widest,
    zeros,
)
from lit_retrieval.ops.vector_exp import FAST_MATH, vector_exp

_ONE = np.float32(1.0)


def causal_conv_cpu(
    x: Tensor, weight: Tensor, bias: Tensor, state: Tensor | None = None, silu: bool = True
) -> tuple[Tensor, Tensor]:
    """A causal depthwise convolution in Numba; arguments and results as in `causal_conv`."""
    dim, kernel = weight.shape
    if state is None:
        state = x.new_zeros(x.shape[0], kernel - 1, dim)
    if missing := -dim % WIDTH:
        x, weight_t, bias, state = (F.pad(tensor, (0, missing)) for tensor in (x, weight.t(), bias, state))
        y, last_state = causal_conv_cpu(x, weight_t.t(), bias, state, silu)
        return y[..., :dim], last_state[..., :dim]
    y, last_state = _CausalConv.apply(  # type: ignore[no-untyped-call]
        x.contiguous(), weight.t().contiguous(), bias.contiguous(), state.contiguous(), silu
    )
    return y, last_state


class _CausalConv(torch.autograd.Function):
    """The convolution with gradients of all inputs; `weight_t` is `(kernel, dim)`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight_t: Tensor, bias: Tensor, state: Tensor, silu: bool
    ) -> tuple[Tensor, Tensor]:
        y, last_state = torch.empty_like(x), torch.empty_like(state)
        run_kernel(_forward, widest(x.shape[2]), silu, x, weight_t, bias, state, y, last_state)
        ctx.silu = silu
        ctx.save_for_backward(x, weight_t, bias, state)
        ctx.set_materialize_grads(False)
        return y, last_state

    @staticmethod
    def backward(ctx: Any, *output_grads: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight_t, bias, state = ctx.saved_tensors
        y_grad, last_state_grad = output_grads
        return *causal_conv_backward(x, weight_t, bias, state, y_grad, last_state_grad, ctx.silu), None


def causal_conv_backward(
    x: Tensor, weight_t: Tensor, bias: Tensor, state: Tensor, y_grad: Tensor | None, last_state_grad: Tensor | None,
    silu: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of `x`, `weight_t (kernel, dim)`, `bias` and `state`, all contiguous; `WIDTH` divides `dim`."""
    y_grad = torch.zeros_like(x) if y_grad is None else y_grad.contiguous()
    last_state_grad = torch.zeros_like(state) if last_state_grad is None else last_state_grad.contiguous()
    x_grad, state_grad = torch.empty_like(x), torch.empty_like(state)
    # One for each sample: samples run in parallel.
    weight_grad, bias_grad = x.new_empty(len(x), *weight_t.shape), x.new_empty(len(x), *bias.shape)
    grads = (x_grad, weight_grad, bias_grad, state_grad)
    run_kernel(_backward, widest(x.shape[2]), silu, x, weight_t, bias, state, y_grad, last_state_grad, *grads)
    return x_grad, weight_grad.sum(0), bias_grad.sum(0), state_grad


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _forward(width: Any, silu: bool, x: Any, weight: Any, bias: Any, state: Any, y: Any, last_state: Any) -> None:
    batch, time, dim = x.shape
    kernel = len(weight)
    for b in prange(batch):
        padded = np.empty((kernel - 1 + time, dim), np.float32)
        _join(width, b, state, x, padded)
        _convolve(width, b, padded, weight, bias, y)
        if silu:
            _silu(b, y)
        _copy(width, (kernel - 1) * dim, padded, time * dim, last_state, b * (kernel - 1) * dim)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _join(width: Any, b: int, state: Any, x: Any, padded: Any) -> None:
    """Copy the state and the inputs of sample b to `padded (kernel - 1 + time, dim)`."""
    before, inputs = state.shape[1] * state.shape[2], x.shape[1] * x.shape[2]
    _copy(width, before, state, b * before, padded, 0)
    _copy(width, inputs, x, b * inputs, padded, before)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _copy(width: Any, count: int, source: Any, source_start: int, target: Any, target_start: int) -> None:
    for i in range(0, count, WIDTH * len(width)):
        store(pointer(target, target_start), i, load(width, pointer(source, source_start), i))


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _convolve(width: Any, b: int, padded: Any, weight: Any, bias: Any, sums: Any) -> None:
    """Each step's sum of the last inputs times the weights, for sample b of `sums (batch, time, dim)`."""
    _, time, dim = sums.shape
    for d in range(0, dim, WIDTH * len(width)):
        for t in range(time):
            found = load(width, pointer(bias, d), 0)
            for k in range(len(weight)):
                inputs, weights = pointer(padded, (t + k) * dim + d), pointer(weight, k * dim + d)
                found = add_product(found, load(width, inputs, 0), load(width, weights, 0))
            store(pointer(sums, (b * time + t) * dim + d), 0, found)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _silu(b: int, y: Any) -> None:
    """SiLU of sample b, in place."""
    count = y.shape[1] * y.shape[2]
    for i in range(count):
        x = load_scalar(pointer(y, b * count), i)
        store_scalar(pointer(y, b * count), i, x / (_ONE + vector_exp(-x)))


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _backward(
    width: Any, silu: bool, x: Any, weight: Any, bias: Any, state: Any, y_grad: Any, last_state_grad: Any,
    x_grad: Any, weight_grad: Any, bias_grad: Any, state_grad: Any,
) -> None:  # fmt: skip
    batch, time, dim = x.shape
    before = len(weight) - 1
    for b in prange(batch):
        padded, sums = np.empty((before + time, dim), np.float32), np.empty((1, time, dim), np.float32)
        sums_grad = np.zeros((before + time + before, dim), np.float32)
        _join(width, b, state, x, padded)
        if silu:
            _convolve(width, 0, padded, weight, bias, sums)
            _silu_backward(sums, b, y_grad, sums_grad)
        else:
            _copy(width, time * dim, y_grad, b * time * dim, sums_grad, before * dim)
        _weights_backward(width, b, sums_grad, padded, weight_grad, bias_grad)
        padded_grad = padded  # the inputs are not needed any more
        _inputs_backward(width, sums_grad, weight, padded_grad)
        _add(width, before * dim, last_state_grad, b * before * dim, padded_grad, time * dim)
        _copy(width, before * dim, padded_grad, 0, state_grad, b * before * dim)
        _copy(width, time * dim, padded_grad, before * dim, x_grad, b * time * dim)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _add(width: Any, count: int, source: Any, source_start: int, target: Any, target_start: int) -> None:
    for i in range(0, count, WIDTH * len(width)):
        total = add(load(width, pointer(target, target_start), i), load(width, pointer(source, source_start), i))
        store(pointer(target, target_start), i, total)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _silu_backward(sums: Any, b: int, y_grad: Any, sums_grad: Any) -> None:
    """The gradients of the sums, with `kernel - 1` steps of zeros before and after them."""
    _, time, dim = sums.shape
    start = (len(sums_grad) - time) // 2 * dim
    for i in range(time * dim):
        x = load_scalar(pointer(sums, 0), i)
        sigmoid = _ONE / (_ONE + vector_exp(-x))
        grad = load_scalar(pointer(y_grad, b * time * dim), i) * sigmoid * (_ONE + x * (_ONE - sigmoid))
        store_scalar(pointer(sums_grad, start), i, grad)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _weights_backward(width: Any, b: int, sums_grad: Any, padded: Any, weight_grad: Any, bias_grad: Any) -> None:
    """The gradients of weights and bias for sample b."""
    _, kernel, dim = weight_grad.shape
    time = len(padded) - kernel + 1
    for d in range(0, dim, WIDTH * len(width)):
        bias_sum = zeros(width)
        for t in range(time):
            bias_sum = add(bias_sum, load(width, pointer(sums_grad, (kernel - 1 + t) * dim + d), 0))
        store(pointer(bias_grad, b * dim + d), 0, bias_sum)
        for k in range(kernel):
            weight_sum = zeros(width)
            for t in range(time):
                grad, inputs = pointer(sums_grad, (kernel - 1 + t) * dim + d), pointer(padded, (t + k) * dim + d)
                weight_sum = add_product(weight_sum, load(width, grad, 0), load(width, inputs, 0))
            store(pointer(weight_grad, (b * kernel + k) * dim + d), 0, weight_sum)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _inputs_backward(width: Any, sums_grad: Any, weight: Any, padded_grad: Any) -> None:
    """The gradients of the inputs; each input contributes to its own step and the next `kernel - 1` steps."""
    (steps, dim), kernel = padded_grad.shape, len(weight)
    for d in range(0, dim, WIDTH * len(width)):
        for t in range(steps):
            grad = zeros(width)
            for k in range(kernel):
                later, weights = pointer(sums_grad, (t + kernel - 1 - k) * dim + d), pointer(weight, k * dim + d)
                grad = add_product(grad, load(width, later, 0), load(width, weights, 0))
            store(pointer(padded_grad, t * dim + d), 0, grad)
