"""Attention to the last few tokens: a Transformer layer with a state of constant size."""

import torch
from torch import Tensor

from lit_retrieval.mixers.attention import Attention, Position, WindowState
from lit_retrieval.mixers.mixer import State, check_sizes, fix_shapes, free_shapes


class SlidingWindowAttention(Attention):
    """Causal self-attention as in LLaMA, to the last `window` tokens only (as in arXiv:2004.05150).

    Args:
        hidden_size: Elements of each token's vector; a multiple of `num_heads`, an even one for rotary positions.
        layer_idx: Index of the layer in the model, from 0; attention does not use it.
        window: Number of tokens that each token sees, itself included.
        num_heads: Number of heads, each with `hidden_size / num_heads` elements.
        rope_base, position, num_kv_heads: As in `Attention`.
    """

    def __init__(
        self,
        hidden_size: int,
        layer_idx: int,
        window: int = 32,
        num_heads: int = 4,
        rope_base: float | None = 10000.0,
        position: Position | None = None,
        num_kv_heads: int | None = None,
    ) -> None:
        super().__init__(hidden_size, layer_idx, num_heads, rope_base, position, num_kv_heads)
        check_sizes(hidden_size, layer_idx, window=window)
        self.window = window

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Let each token attend to the last ones; see `Attention.forward`.

        On a CPU, decoding without gradients uses a `FixedState`: keys and values of new tokens are written into a ring
        buffer, and no others are copied. (For attention to all tokens a ring is slower on a CPU.)
        """
        if state is not None and x.is_cpu and not torch.compiler.is_compiling():
            is_step = x.shape[1] == 1 and not torch.is_grad_enabled()
            state = fix_shapes(state) if is_step else free_shapes(state)
        return super().forward(x, state)

    def _remember(self, state: State, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, State]:
        """Keys and values of the last tokens and the new ones; of these the next token sees the last `window - 1`."""
        time = k.shape[2] if state is None else state.length + k.shape[2]
        if state is not None:
            k, v = torch.cat([state.keys, k], 2), torch.cat([state.values, v], 2)
        first = max(0, k.shape[2] - self.window + 1)
        return k, v, WindowState(_own_rows(k, first), _own_rows(v, first), time, self.window)

    def _attend(self, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The same as in `Attention`, in blocks of `window` queries and twice as many keys: linear in the length."""
        time, window = q.shape[2], self.window
        if time < 2 * window:
            return super()._attend(q, keys, values)
        first = window + time % window  # so that the other queries are whole blocks, each after `window` keys
        after = keys.shape[2] - time + first
        head = super()._attend(q[:, :, :first], keys[:, :, :after], values[:, :, :after])
        blocks = [_in_blocks(q[:, :, first:], window, window)]
        blocks += [_in_blocks(one[:, :, after - window :], 2 * window, window) for one in (keys, values)]
        rest = super()._attend(*blocks)
        return torch.cat([head, rest.view(len(q), -1, *rest.shape[1:]).transpose(1, 2).flatten(2, 3)], 2)

    def _mask(self, time: int, length: int, device: torch.device) -> Tensor:
        mask = torch.ones(time, length, dtype=torch.bool, device=device)
        return mask.tril(length - time).triu(length - time - self.window + 1)

    def state_size(self, length: int) -> int:
        """The number of elements of the kept keys and values, for one sample after `length` tokens."""
        return 2 * min(length, self.window - 1) * self.num_kv_heads * self.head_dim


def _in_blocks(x: Tensor, length: int, step: int) -> Tensor:
    """Blocks of `length` tokens of `x (batch, heads, time, dim)`, one every `step`, `(batch * blocks, heads, ...)`."""
    return x.unfold(2, length, step).permute(0, 2, 1, 4, 3).flatten(0, 1)


def _own_rows(x: Tensor, first: int) -> Tensor:
    """The tokens from `first` on of `x (batch, heads, time, dim)`, without keeping the memory of all others."""
    rows = x[:, :, first:]
    return rows.clone() if first > rows.shape[2] else rows
