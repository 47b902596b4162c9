"""Test-time training: a recurrence whose state is a linear model that learns the values of keys."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_retrieval.errors import UserError
from lit_retrieval.mixers.chunks import by_chunks
from lit_retrieval.mixers.mixer import check_sizes
from lit_retrieval.ops.half_precision import in_float32, product_dtype, widen


class TTTState(NamedTuple):
    """The linear model, and the gradients of the current mini-batch so far.

    Args:
        weight, bias: The model before the mini-batch, `(batch, heads, dim, dim)` and `(batch, heads, 1, dim)`.
        weight_grad, bias_grad: Sums of the gradients in the mini-batch, shaped like weight and bias.
        tokens: Number of tokens in the mini-batch so far.
    """

    weight: Tensor
    bias: Tensor
    weight_grad: Tensor
    bias_grad: Tensor
    tokens: int


class TTT(nn.Module):
    """TTT-Linear (Sun et al. 2024, arXiv:2407.04620), as in fla's naive function (`fla.ops.ttt`).

    Each head's state is a linear model with a layer norm, f(k) = LN(k W + b). Each token takes a gradient step towards
    f(k) = v - k, from the model before its mini-batch, with the mean gradient of the mini-batch so far and its own
    learning rate. Then it reads f with its query.

    Args:
        hidden_size: Elements of each token's vector.
        layer_idx: Index of the layer in the model, from 0; this mixer does not use it.
        num_heads: Heads, each with `hidden_size / num_heads` elements.
        mini_batch: Number of tokens whose gradients are taken at the same model.
    """

    def __init__(self, hidden_size: int, layer_idx: int, num_heads: int = 4, mini_batch: int = 16) -> None:
        super().__init__()
        check_sizes(hidden_size, layer_idx, num_heads=num_heads, mini_batch=mini_batch)
        if hidden_size % num_heads:
            raise UserError(f"hidden_size must be a multiple of num_heads={num_heads}, got {hidden_size}")
        self.num_heads, self.head_dim, self.mini_batch = num_heads, hidden_size // num_heads, mini_batch
        self.qkv_proj = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.rate_proj = nn.Linear(hidden_size, num_heads)
        self.norm_weight = nn.Parameter(torch.ones(num_heads, 1, self.head_dim))
        self.norm_bias = nn.Parameter(torch.zeros(num_heads, 1, self.head_dim))
        self.out_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: Tensor, state: TTTState | None = None) -> tuple[Tensor, TTTState]:
        """Mix tokens along time; see `Mixer.forward`."""
        (batch, time, _), shape = x.shape, (self.num_heads, 3 * self.head_dim)
        qkv = self.qkv_proj(x).view(batch, time, *shape).transpose(1, 2)
        rate = self.rate_proj(x).transpose(1, 2).unsqueeze(3)
        o, state = self._learn(qkv, rate, state)
        return self.out_proj(o.transpose(1, 2).flatten(2).to(product_dtype(x))), state

    @in_float32
    def _learn(self, qkv: Tensor, rate: Tensor, state: TTTState | None) -> tuple[Tensor, TTTState]:
        """Process all tokens, `(batch, heads, time, dim)`, mini-batch by mini-batch."""
        q, k, v = qkv.chunk(3, 3)
        if state is None:
            zeros = k.new_zeros(*k.shape[:2], self.head_dim + 1, self.head_dim)
            weight, bias = zeros[:, :, 1:], zeros[:, :, :1]
            state = TTTState(weight, bias, weight, bias, 0)
        return by_chunks(self._step, self.mini_batch, state, q, k, v, rate)

    def _step(self, q: Tensor, k: Tensor, v: Tensor, rate: Tensor, state: TTTState) -> tuple[Tensor, TTTState]:
        """Process one mini-batch."""
        weight, bias, weight_grad, bias_grad, count = state
        seen = torch.arange(count + 1, count + 1 + k.shape[2], device=k.device, dtype=k.dtype)
        rate = rate.sigmoid() / (self.head_dim * seen.unsqueeze(1))  # of a mean
        gradient = self._gradient(k @ weight + bias, v - k)
        q = q * self.head_dim**-0.5
        along_keys = q @ weight_grad + (q @ k.transpose(2, 3)).tril() @ gradient
        o = q @ weight + bias - rate * (along_keys + bias_grad + gradient.cumsum(2))
        weight_grad = weight_grad + k.transpose(2, 3) @ gradient
        bias_grad = bias_grad + gradient.sum(2, keepdim=True)
        count += k.shape[2]
        if count == self.mini_batch:
            weight, bias = weight - rate[:, :, -1:] * weight_grad, bias - rate[:, :, -1:] * bias_grad
            weight_grad, bias_grad, count = torch.zeros_like(weight_grad), torch.zeros_like(bias_grad), 0
        return o + self._norm(o), TTTState(weight, bias, weight_grad, bias_grad, count)

    def _norm(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (self.head_dim,)) * widen(self.norm_weight) + widen(self.norm_bias)

    def _gradient(self, x: Tensor, target: Tensor) -> Tensor:
        """The gradient of |LN(x) - target|^2 / 2 with respect to x."""
        variance, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
        scale = (variance + 1e-5).rsqrt()
        normed, weight = (x - mean) * scale, widen(self.norm_weight)
        gradient = (normed * weight + widen(self.norm_bias) - target) * weight
        centered = gradient - gradient.mean(-1, keepdim=True)
        return scale * (centered - normed * (gradient * normed).mean(-1, keepdim=True))

    def state_size(self, length: int) -> int:
        """The number of state elements for one sample, whatever the `length`."""
        return 2 * self.num_heads * self.head_dim * (self.head_dim + 1)
