"""Titans' neural memory, with a linear memory: gradient steps with momentum and forgetting."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_retrieval.errors import UserError
from lit_retrieval.mixers.chunks import by_chunks
from lit_retrieval.mixers.mixer import check_sizes
from lit_retrieval.ops.half_precision import in_float32, product_dtype


class TitansState(NamedTuple):
    """The memory before the current chunk, now, and its momentum, `(batch, heads, dim, dim)`; `tokens` in the chunk."""

    before: Tensor
    memory: Tensor
    momentum: Tensor
    tokens: int


class Titans(nn.Module):
    """A linear memory as in Titans (Behrouz et al. 2025, arXiv:2501.00663, equations 9 to 16).

    With k and q of length 1, and the gradient taken at the memory before the chunk, as in the paper's section 3.2 and
    in fla's naive function (`fla.ops.titans`):

        S_t = eta_t S_{t-1} - theta_t k_t^T (k_t M - v_t),   M_t = (1 - alpha_t) M_{t-1} + S_t,   o_t = q_t M_t.

    Args:
        hidden_size: Elements of each token's vector.
        layer_idx: Index of the layer in the model, from 0; this mixer does not use it.
        num_heads: Heads, each with `hidden_size / num_heads` elements.
        chunk: Number of tokens whose gradients are taken at the same memory.
    """

    def __init__(self, hidden_size: int, layer_idx: int, num_heads: int = 4, chunk: int = 16) -> None:
        super().__init__()
        check_sizes(hidden_size, layer_idx, num_heads=num_heads, chunk=chunk)
        if hidden_size % num_heads:
            raise UserError(f"hidden_size must be a multiple of num_heads={num_heads}, got {hidden_size}")
        self.num_heads, self.head_dim, self.chunk = num_heads, hidden_size // num_heads, chunk
        self.qkv_proj = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.gates_proj = nn.Linear(hidden_size, 3 * num_heads)  # rate, momentum and forgetting
        nn.init.constant_(self.gates_proj.bias[2 * num_heads :], -4.0)  # a token forgets 2% at first
        self.gates_proj.bias._no_reinit = True  # type: ignore[attr-defined]
        self.norm = nn.Parameter(torch.ones(self.head_dim))
        self.out_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: Tensor, state: TitansState | None = None) -> tuple[Tensor, TitansState]:
        """Mix tokens along time; see `Mixer.forward`."""
        batch, time, _ = x.shape
        qkv = self.qkv_proj(x).view(batch, time, self.num_heads, -1).transpose(1, 2)
        gates = self.gates_proj(x).view(batch, time, 3, self.num_heads).permute(2, 0, 3, 1)
        o, state = self._remember(qkv, gates, state)
        return self.out_proj(o.transpose(1, 2).flatten(2).to(product_dtype(x))), state

    @in_float32
    def _remember(self, qkv: Tensor, gates: Tensor, state: TitansState | None) -> tuple[Tensor, TitansState]:
        """Process all tokens, `(batch, heads, time, dim)`, chunk by chunk; gates are `(3, batch, heads, time)`."""
        q, k, v = qkv.chunk(3, 3)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        rate, kept = gates[0].sigmoid(), F.logsigmoid(torch.stack([gates[1], -gates[2]]))
        if state is None:
            zeros = k.new_zeros(*k.shape[:2], self.head_dim, self.head_dim)
            state = TitansState(zeros, zeros, zeros, 0)
        o, state = by_chunks(self._step, self.chunk, state, q, k, v, rate, kept.movedim(0, 3))
        return F.rms_norm(o, (self.head_dim,), self.norm.to(o.dtype), 1e-5), state

    def _step(
        self, q: Tensor, k: Tensor, v: Tensor, rate: Tensor, kept: Tensor, state: TitansState
    ) -> tuple[Tensor, TitansState]:
        """Process one chunk; `kept (batch, heads, time, 2)` has the log decays of momentum and of memory."""
        before, memory, momentum, count = state
        surprise = -rate.unsqueeze(3) * (k @ before - v)
        sums = kept.movedim(3, 0).cumsum(3)
        later = torch.ones(k.shape[2], k.shape[2], dtype=torch.bool, device=k.device).triu(1)
        logs = (sums.unsqueeze(4) - sums.unsqueeze(3)).masked_fill(later, -torch.inf)
        in_momentum, in_memory = logs.exp()  # the share of token s's contribution that is left at token t
        (momentum_left, memory_left), both = sums.exp().unsqueeze(4), in_memory @ in_momentum
        of_momentum = in_memory @ momentum_left
        o = memory_left * (q @ memory) + of_momentum * (q @ momentum) + ((q @ k.transpose(2, 3)) * both) @ surprise
        k_memory, k_momentum = (k * part[:, :, -1].unsqueeze(3) for part in (both, in_momentum))
        memory = memory_left[:, :, -1:] * memory + of_momentum[:, :, -1:] * momentum + k_memory.mT @ surprise
        momentum = momentum_left[:, :, -1:] * momentum + k_momentum.mT @ surprise
        count += k.shape[2]
        is_full = count == self.chunk
        return o, TitansState(memory if is_full else before, memory, momentum, 0 if is_full else count)

    def state_size(self, length: int) -> int:
        """The number of state elements for one sample, whatever the `length`."""
        return 3 * self.num_heads * self.head_dim**2
