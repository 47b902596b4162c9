"""LLaMA's causal self-attention, with a key-value cache that grows by doubling."""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_retrieval.errors import UserError


class AttentionState(NamedTuple):
    """What attention remembers: `keys` and `values`, `(batch, heads, capacity, head_dim)`, of `length` tokens.

    What stands after the first `length` tokens is room for more and means nothing.
    """

    keys: Tensor
    values: Tensor
    length: int


class Attention(nn.Module):
    """Causal self-attention as in LLaMA: rotary positions and no biases (arXiv:2302.13971).

    Args:
        hidden_size: Numbers in each token's vector; `num_heads` times an even number.
        layer_idx: The layer's place in the model, from 0; attention does not use it.
        num_heads: Heads, each of `hidden_size / num_heads` numbers.
        rope_base: The rotary embedding's base; the slowest pair of numbers turns about once in 6 times as many tokens.
            Without one, attention does not know where a token stands.
    """

    def __init__(self, hidden_size: int, layer_idx: int, num_heads: int = 4, rope_base: float | None = 10000.0) -> None:
        super().__init__()
        if hidden_size % (2 * num_heads):
            raise UserError(
                f"hidden_size={hidden_size} is not num_heads={num_heads} times an even number, which rotary positions "
                f"need; write a num_heads that divides {hidden_size // 2}"
            )
        self.num_heads, self.head_dim, self.rope_base = num_heads, hidden_size // num_heads, rope_base
        self.qkv_proj = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.out_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        for projection in (self.qkv_proj, self.out_proj):
            nn.init.normal_(projection.weight, std=0.02)

    def forward(self, x: Tensor, state: AttentionState | None = None) -> tuple[Tensor, AttentionState]:
        """Let each token look at itself and at those before it.

        Args:
            x: `(batch, time, hidden_size)`.
            state: What an earlier call handed back; nothing came before if absent. It is used up: without gradients,
                new keys are written into its memory, so two different continuations need a copy each.

        Returns:
            The outputs, shaped like `x`, and the state after the last token.
        """
        start = 0 if state is None else state.length
        q, k, v = self._project(x, start)
        state = AttentionState(k, v, x.shape[1]) if state is None else _append(state, k, v)
        keys, values = state.keys[:, :, : state.length], state.values[:, :, : state.length]
        mask = _causal_mask(x.shape[1], state.length, x.device) if start and x.shape[1] > 1 else None
        y = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, is_causal=start == 0)
        return self.out_proj(y.transpose(1, 2).flatten(2)), state

    def _project(self, x: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, `(batch, heads, time, head_dim)`; the first two rotated to their positions."""
        batch, time, hidden_size = x.shape
        # Two products, not one and a split: each result is contiguous, and their gradients need not be joined again.
        qk_weight, v_weight = self.qkv_proj.weight[: 2 * hidden_size], self.qkv_proj.weight[2 * hidden_size :]
        qk = F.linear(x, qk_weight).view(batch, time, 2 * self.num_heads, self.head_dim)
        qk = qk if self.rope_base is None else rotate(qk, start, self.rope_base)
        q, k = qk.transpose(1, 2).chunk(2, 1)
        return q, k, F.linear(x, v_weight).view(batch, time, self.num_heads, self.head_dim).transpose(1, 2)

    def inspect(self, x: Tensor) -> dict[str, Tensor]:
        """`attention`: how much each word, a row, looks at each word before it, `(heads, time, time)`."""
        q, k, _ = self._project(x, 0)
        scores = (q @ k.transpose(2, 3))[0] * self.head_dim**-0.5
        mask = _causal_mask(x.shape[1], x.shape[1], x.device)
        return {"attention": scores.masked_fill(~mask, -torch.inf).softmax(-1)}

    def state_size(self, length: int) -> int:
        """How many numbers the keys and values of `length` tokens are, for one sample; room for more is not counted."""
        return 2 * length * self.num_heads * self.head_dim


def rotate(x: Tensor, start: int, base: float) -> Tensor:
    """Rotary position embedding: turn each pair of numbers by an angle that grows with the token's position.

    (x_{2i}, x_{2i+1}) at position p is turned by p base^(-2i / head_dim)  (Su et al. 2021, arXiv:2104.09864).

    Args:
        x: `(batch, time, heads, head_dim)`.
        start: The first token's position.
        base: The rotary embedding's base.

    Returns:
        The turned vectors, shaped like `x`.
    """
    time, head_dim = x.shape[1], x.shape[3]
    capacity = 1 << (start + time - 1).bit_length()  # so that decoding, step by step, needs few tables
    turns = _rotations(capacity, head_dim, base, x.device, x.dtype)[start : start + time]
    pairs = torch.view_as_complex(x.view(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns.unsqueeze(1)).flatten(-2)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # a table first made while decoding must serve training as well
def _rotations(capacity: int, head_dim: int, base: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The rotations of positions 0 to capacity - 1, complex, `(capacity, head_dim / 2)`."""
    frequencies = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.outer(torch.arange(capacity, dtype=torch.float64), frequencies)
    return torch.polar(torch.ones_like(angles), angles).to(device, dtype.to_complex())


def _causal_mask(time: int, length: int, device: torch.device) -> Tensor:
    """Which of `length` keys each of the last `time` tokens may see, bool `(time, length)`."""
    return torch.ones(time, length, dtype=torch.bool, device=device).tril(length - time)


def _append(state: AttentionState, k: Tensor, v: Tensor) -> AttentionState:
    """The state with `k` and `v`, `(batch, heads, time, head_dim)`, at its end."""
    length = state.length + k.shape[2]
    if torch.is_grad_enabled() and (k.requires_grad or state.keys.requires_grad):
        keys = torch.cat([state.keys[:, :, : state.length], k], 2)  # autograd forbids writing into what it kept
        return AttentionState(keys, torch.cat([state.values[:, :, : state.length], v], 2), length)
    if length > state.keys.shape[2]:
        capacity = max(length, 2 * state.keys.shape[2])
        state = AttentionState(_grow(state.keys, capacity), _grow(state.values, capacity), state.length)
    state.keys[:, :, state.length : length] = k
    state.values[:, :, state.length : length] = v
    return AttentionState(state.keys, state.values, length)


def _grow(tensor: Tensor, capacity: int) -> Tensor:
    """The same `(batch, heads, old capacity, head_dim)` with room for `capacity` tokens."""
    grown = tensor.new_empty(*tensor.shape[:2], capacity, tensor.shape[3])
    grown[:, :, : tensor.shape[2]] = tensor
    return grown
