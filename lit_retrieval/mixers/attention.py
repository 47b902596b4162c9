"""LLaMA's causal self-attention, with a key-value cache that grows by doubling, or has a fixed shape."""

from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_retrieval.errors import UserError
from lit_retrieval.mixers.mixer import State, check_sizes
from lit_retrieval.ops import rotate
from lit_retrieval.ranges import check_at_least

_ROPE_BASE = 10000.0
Position: TypeAlias = Literal["rope", "alibi", "none"]


class FixedState(NamedTuple):
    """A state of fixed shape, so that every decoding step has the same shapes, as a CUDA graph needs.

    Args:
        keys, values: `(batch, heads, slots, head_dim)`; the token at position p is in slot p modulo `slots`.
        length: Tokens so far, the same number in each row, int64 `(batch,)`.
        capacity: Number of tokens that fit, a power of two.
        window: Slots of a sliding window; None for `capacity` slots.
    """

    keys: Tensor
    values: Tensor
    length: Tensor
    capacity: int
    window: int | None

    @property
    def room(self) -> int:
        """The number of tokens that still fit; on a GPU the host waits for it."""
        return self.capacity - int(self.length[0])

    def fixed(self) -> "FixedState":
        """The same state with room for at least one more token."""
        if self.room:
            return self
        if self.window is not None:
            return self._replace(capacity=2 * self.capacity)
        return _fix(self.keys, self.values, self.capacity)

    def free(self) -> State:
        """The state as the layer returns it: `AttentionState`, or `WindowState` of a window."""
        length = int(self.length[0])
        if self.window is None:
            return AttentionState(self.keys, self.values, length)
        kept = torch.arange(max(0, length - self.window + 1), length, device=self.keys.device) % self.window
        return WindowState(self.keys.index_select(2, kept), self.values.index_select(2, kept), length, self.window)


class AttentionState(NamedTuple):
    """The `keys` and `values`, `(batch, heads, capacity, head_dim)`, of which the first `length` are in use."""

    keys: Tensor
    values: Tensor
    length: int

    def fixed(self) -> FixedState:
        """The same for steps of the same shapes."""
        return _fix(self.keys[:, :, : self.length], self.values[:, :, : self.length], self.length)


class WindowState(NamedTuple):
    """The `keys` and `values` of the last tokens, `(batch, heads, kept, head_dim)`, of `length` tokens in all."""

    keys: Tensor
    values: Tensor
    length: int
    window: int

    def fixed(self) -> FixedState:
        """The same for steps of the same shapes."""
        return _fix(self.keys, self.values, self.length, self.window)


def _fix(keys: Tensor, values: Tensor, length: int, window: int | None = None) -> FixedState:
    """The state after `length` tokens with the keys and values of the last ones, `(batch, heads, kept, head_dim)`."""
    capacity = 1 << length.bit_length()
    slots = capacity if window is None else window
    at = torch.arange(length - keys.shape[2], length, device=keys.device) % slots
    keys, values = (one.new_zeros(*one.shape[:2], slots, one.shape[3]).index_copy(2, at, one) for one in (keys, values))
    return FixedState(keys, values, torch.full((len(keys),), length, device=keys.device), capacity, window)


class Attention(nn.Module):
    """Causal self-attention as in LLaMA: rotary positions and no biases (arXiv:2302.13971).

    Args:
        hidden_size: Elements of each token's vector; a multiple of `num_heads`, an even one for rotary positions.
        layer_idx: Index of the layer in the model, from 0; attention does not use it.
        num_heads: Number of heads, each with `hidden_size / num_heads` elements.
        rope_base: Base of the rotary embedding; the slowest pair of elements turns about once in 6 times as many
            tokens. None for no position embedding.
        position: Position encoding: `rope`, `alibi` (a penalty that grows with the distance, arXiv:2108.12409) or
            `none`. If absent, `rope`, or `none` without a `rope_base`.
        num_kv_heads: Number of heads of keys and values, each shared by a group of neighboring query heads
            (arXiv:2305.13245); `num_heads` if absent.
    """

    slopes: Tensor

    def __init__(
        self,
        hidden_size: int,
        layer_idx: int,
        num_heads: int = 4,
        rope_base: float | None = _ROPE_BASE,
        position: Position | None = None,
        num_kv_heads: int | None = None,
    ) -> None:
        super().__init__()
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        check_sizes(hidden_size, layer_idx, num_heads=num_heads, num_kv_heads=num_kv_heads)
        self.position = position or ("none" if rope_base is None else "rope")
        if self.position == "rope":
            check_at_least("rope_base", rope_base or 0, 1, "model.stages...rope_base")
        elif rope_base not in (None, _ROPE_BASE):
            raise UserError(f"rope_base is for rope, got {rope_base} with {self.position}; leave out one of them")
        _check_heads(hidden_size, num_heads, num_kv_heads, self.position == "rope")
        self.num_heads, self.head_dim, self.rope_base = num_heads, hidden_size // num_heads, rope_base
        self.num_kv_heads = num_kv_heads
        if self.position == "alibi":
            self.register_buffer("slopes", torch.tensor(_alibi_slopes(num_heads)), persistent=False)
        self.qkv_proj = nn.Linear(hidden_size, (num_heads + 2 * num_kv_heads) * self.head_dim, bias=False)
        self.out_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        for projection in (self.qkv_proj, self.out_proj):
            nn.init.normal_(projection.weight, std=0.02)

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Let each token attend to itself and to those before it; see `Mixer.forward`.

        Without gradients, new keys are written into the state's memory, so copy the state to continue it twice.
        """
        if isinstance(state, FixedState):
            return self._step(x, state)
        q, k, v = self._project(x, 0 if state is None else state.length)
        keys, values, state = self._remember(state, k, v)
        return self.out_proj(self._attend(q, keys, values).transpose(1, 2).flatten(2)), state

    def _step(self, x: Tensor, state: FixedState) -> tuple[Tensor, FixedState]:
        """The same for one token, `(batch, 1, hidden_size)`, and without gradients."""
        at, slots = state.length[:1], state.keys.shape[2]
        q, k, v = self._project(x, at, state.capacity)
        for kept, new in ((state.keys, k), (state.values, v)):
            kept.index_copy_(2, at % slots, new)
        distances = (at - torch.arange(slots, device=x.device)) % slots
        mask = (distances <= at)[None]  # the other slots have no token yet
        if self.position == "alibi":
            mask = (-self.slopes.view(1, -1, 1, 1) * distances).masked_fill(~mask, -torch.inf).to(q.dtype)
        mixed = F.scaled_dot_product_attention(q, state.keys, state.values, mask, enable_gqa=self._is_grouped)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), state._replace(length=state.length + 1)

    def _project(self, x: Tensor, start: int | Tensor, capacity: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, `(batch, heads, time, head_dim)`; the first two rotated to their positions."""
        batch, time, _ = x.shape
        heads = self.num_heads + self.num_kv_heads
        # Two products instead of one that is split: results are contiguous, and gradients need no concatenation.
        rows = heads * self.head_dim
        qk_weight, v_weight = self.qkv_proj.weight[:rows], self.qkv_proj.weight[rows:]
        qk = F.linear(x, qk_weight).view(batch, time, heads, self.head_dim)
        qk = rotate(qk, start, self.rope_base, capacity) if self.position == "rope" and self.rope_base else qk
        q, k = qk.transpose(1, 2).tensor_split([self.num_heads], 1)
        return q, k, F.linear(x, v_weight).view(batch, time, self.num_kv_heads, self.head_dim).transpose(1, 2)

    def _remember(self, state: State, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, State]:
        """All keys and values, the new ones `(batch, heads, time, head_dim)` included, and the state with them."""
        state = AttentionState(k, v, k.shape[2]) if state is None else _append(state, k, v)
        return state.keys[:, :, : state.length], state.values[:, :, : state.length], state

    def _attend(self, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The values, `(batch, kv heads, length, dim)`, mixed for each query, `(batch, heads, time, dim)`."""
        time, length = q.shape[2], keys.shape[2]
        mask = self._mask(time, length, q.device)
        if self.position == "alibi":
            mask = self._alibi(time, length, mask).to(q.dtype)
        is_causal = mask is None
        if time != length:  # an `if`, because a compiler's lengths, and the result of `==`, may be symbols
            is_causal = False
        return F.scaled_dot_product_attention(q, keys, values, mask, is_causal=is_causal, enable_gqa=self._is_grouped)

    def _mask(self, time: int, length: int, device: torch.device) -> Tensor | None:
        """Which of `length` keys the last `time` tokens see, bool `(time, length)`; None if each sees all before it."""
        if time in (1, length):
            return None
        return torch.ones(time, length, dtype=torch.bool, device=device).tril(length - time)

    def _alibi(self, time: int, length: int, seen: Tensor | None) -> Tensor:
        """The bias of the scores of `length` keys for the last `time` tokens, `(1, heads, time, length)`.

        -slope times the distance, and -inf at keys after a token or not `seen`.
        """
        positions = torch.arange(length, device=self.slopes.device)
        distances = positions[length - time :, None] - positions
        visible = distances >= 0 if seen is None else seen
        return (-self.slopes.view(1, -1, 1, 1) * distances).masked_fill(~visible, -torch.inf)

    def inspect(self, x: Tensor) -> dict[str, Tensor]:
        """`attention`: the weight of each position (column) in each output (row), `(heads, time, time)`."""
        q, k, _ = self._project(x, 0)
        one_hot = torch.eye(x.shape[1], dtype=q.dtype, device=x.device).expand(*k.shape[:2], -1, -1)
        return {"attention": self._attend(q, k, one_hot)[0]}

    def state_size(self, length: int) -> int:
        """The number of elements of the keys and values of `length` tokens, for one sample; spare capacity excluded."""
        return 2 * length * self.num_kv_heads * self.head_dim

    @property
    def _is_grouped(self) -> bool:
        return self.num_kv_heads != self.num_heads


def _check_heads(hidden_size: int, num_heads: int, num_kv_heads: int, is_rotary: bool) -> None:
    if is_rotary and hidden_size % (2 * num_heads):
        raise UserError(
            f"hidden_size={hidden_size} is not num_heads={num_heads} times an even number, which rotary positions "
            f"need; write a num_heads that divides {hidden_size // 2}"
        )
    if hidden_size % num_heads:
        raise UserError(
            f"num_heads must divide hidden_size={hidden_size}, got {num_heads}; set model.stages...num_heads"
        )
    if num_heads % num_kv_heads:
        raise UserError(
            f"num_kv_heads must divide num_heads={num_heads}, got {num_kv_heads}; set model.stages...num_kv_heads"
        )


def _alibi_slopes(num_heads: int) -> list[float]:
    """ALiBi's slope of each head, 2^(-8 i / num_heads) from i = 1 on  (Press et al. 2022, arXiv:2108.12409).

    If `num_heads` is not a power of two, they are the slopes for the power below it, and then every second slope for
    the power above.
    """
    power = 1 << (num_heads.bit_length() - 1)
    slopes = [2.0 ** (-8 * i / power) for i in range(1, power + 1)]
    return slopes + [2.0 ** (-4 * i / power) for i in range(1, 2 * (num_heads - power), 2)]


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
    """A copy of `(batch, heads, old capacity, head_dim)` with room for `capacity` tokens."""
    grown = tensor.new_empty(*tensor.shape[:2], capacity, tensor.shape[3])
    grown[:, :, : tensor.shape[2]] = tensor
    return grown
