"""Attention to the last few tokens: a Transformer's layer with a recurrent model's memory."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.errors import UserError
from lit_retrieval.mixers.attention import Attention


class WindowState(NamedTuple):
    """What a window remembers: `keys` and `values` of the last tokens, `(batch, heads, kept, head_dim)`.

    `length` is how many tokens there were in all, which may be more.
    """

    keys: Tensor
    values: Tensor
    length: int


class SlidingWindowAttention(Attention):
    """Causal self-attention as in LLaMA, to the last `window` tokens alone (as in arXiv:2004.05150).

    Args:
        hidden_size: Numbers in each token's vector; `num_heads` times an even number.
        layer_idx: The layer's place in the model, from 0; attention does not use it.
        window: How many tokens each token sees, itself among them.
        num_heads: Heads, each of `hidden_size / num_heads` numbers.
        rope_base: The rotary embedding's base.
    """

    def __init__(
        self, hidden_size: int, layer_idx: int, window: int = 32, num_heads: int = 4, rope_base: float = 10000.0
    ) -> None:
        super().__init__(hidden_size, layer_idx, num_heads, rope_base)
        if window < 1:
            raise UserError(f"window={window} leaves a token nothing to see; write 1 or more")
        self.window = window

    def forward(self, x: Tensor, state: WindowState | None = None) -> tuple[Tensor, WindowState]:  # type: ignore[override]
        """Let each token look at itself and at the few before it.

        Args:
            x: `(batch, time, hidden_size)`.
            state: What an earlier call handed back; nothing came before if absent.

        Returns:
            The outputs, shaped like `x`, and the state after the last token.
        """
        start = 0 if state is None else state.length
        q, keys, values = self._project(x, start)
        if state is not None:
            keys, values = torch.cat([state.keys, keys], 2), torch.cat([state.values, values], 2)
        mask = _window_mask(x.shape[1], keys.shape[2], self.window, x.device)
        y = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
        first = max(0, keys.shape[2] - self.window + 1)  # the next token sees itself too, so one less is kept
        last_state = WindowState(keys[:, :, first:], values[:, :, first:], start + x.shape[1])
        return self.out_proj(y.transpose(1, 2).flatten(2)), last_state

    def state_size(self, length: int) -> int:
        """How many numbers the kept keys and values are, for one sample after `length` tokens."""
        return 2 * min(length, self.window - 1) * self.num_heads * self.head_dim


def _window_mask(time: int, length: int, window: int, device: torch.device) -> Tensor:
    """Which of `length` keys each of the last `time` tokens may see, bool `(time, length)`."""
    mask = torch.ones(time, length, dtype=torch.bool, device=device)
    return mask.tril(length - time).triu(length - time - window + 1)
