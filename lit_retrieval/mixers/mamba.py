"""Mamba-1's mixer, with the parameter names of mamba-ssm and fla."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_retrieval.mixers.fla_weights import small_steps
from lit_retrieval.mixers.mixer import check_sizes
from lit_retrieval.ops import causal_conv, selective_scan, silu_gate
from lit_retrieval.ops.half_precision import widen


class MambaState(NamedTuple):
    """The convolution's last inputs, `conv (batch, conv_kernel - 1, dim)`, and `scan (batch, state_dim, dim)`."""

    conv: Tensor
    scan: Tensor


class Mamba(nn.Module):
    """Mamba-1: a gated selective state space model (Gu and Dao 2023, arXiv:2312.00752).

    Its parameters have the names and shapes of mamba-ssm's `Mamba`, so each loads the other's `state_dict`.

    Args:
        hidden_size: Elements of each token's vector.
        layer_idx: Index of the layer in the model, from 0; Mamba does not use it.
        state_dim: State elements per channel.
        expand: Channels per element of `hidden_size`.
        conv_kernel: Number of tokens that the convolution before the scan sees.
        dt_rank: Rank of the map to the step sizes; `hidden_size / 16`, rounded up, if absent.
        bias: Whether the first and the last projection have biases (default: no).
        conv_bias: Whether the convolution has a bias (default: yes).
    """

    def __init__(
        self,
        hidden_size: int,
        layer_idx: int,
        state_dim: int = 16,
        expand: int = 2,
        conv_kernel: int = 4,
        dt_rank: int | None = None,
        bias: bool | None = None,
        conv_bias: bool | None = None,
    ) -> None:
        super().__init__()
        dt_rank = math.ceil(hidden_size / 16) if dt_rank is None else dt_rank
        sizes = {"state_dim": state_dim, "expand": expand, "conv_kernel": conv_kernel, "dt_rank": dt_rank}
        check_sizes(hidden_size, layer_idx, **sizes)
        self.dim = expand * hidden_size
        self.state_dim = state_dim
        self.dt_rank = dt_rank
        self.in_proj = nn.Linear(hidden_size, 2 * self.dim, bias=bool(bias))
        # Holds the weights; never called.
        self.conv1d = nn.Conv1d(self.dim, self.dim, conv_kernel, groups=self.dim, bias=conv_bias is not False)
        self.x_proj = nn.Linear(self.dim, self.dt_rank + 2 * state_dim, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, self.dim)
        self.A_log = nn.Parameter(torch.arange(1, state_dim + 1, dtype=torch.float32).log().repeat(self.dim, 1))
        self.A_log._no_weight_decay = True  # type: ignore[attr-defined]  # mamba-ssm's mark for the optimizer
        self.D = nn.Parameter(torch.ones(self.dim))
        self.out_proj = nn.Linear(self.dim, hidden_size, bias=bool(bias))
        self._reset_dt()

    @torch.no_grad()
    def _reset_dt(self) -> None:
        """Draw softplus(bias) log-uniformly from the range of step sizes, as in mamba-ssm."""
        nn.init.uniform_(self.dt_proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        self.dt_proj.bias.copy_(small_steps(self.dt_proj.bias))
        self.dt_proj.bias._no_reinit = True  # type: ignore[attr-defined]  # mamba-ssm's mark for `initializer_range`

    def forward(self, x: Tensor, state: MambaState | None = None) -> tuple[Tensor, MambaState]:
        """Mix tokens along time; arguments and results are those of `Mixer.forward`."""
        conv_state, scan_state = (None, None) if state is None else state
        inner = self._project(x, 0)
        dtype = inner.dtype
        inner, conv_state = self._convolve(inner, conv_state)
        dt, B, C = self._select(inner)
        y, scan_state = selective_scan(inner, dt, -widen(self.A_log).exp(), B, C, scan_state)
        gate = self._project(x, 1)  # last, so that neither the gate nor its gradient is in memory during the scan
        y = silu_gate(torch.addcmul(y, inner, widen(self.D)), widen(gate))
        return self.out_proj(y.to(dtype)), MambaState(conv_state, scan_state)

    def inspect(self, x: Tensor) -> dict[str, Tensor]:
        """`decay`: how much of its state each channel keeps, the mean of exp(dt_t A), `(1, dim, time)`."""
        inner, _ = self._convolve(self._project(x, 0), None)
        dt, _, _ = self._select(inner)
        kept = torch.exp(-dt[0, :, :, None] * widen(self.A_log).exp())  # (time, dim, state_dim)
        return {"decay": kept.mean(-1).T[None]}

    def _project(self, x: Tensor, half: int) -> Tensor:
        """The first or the second half of the first projection, `(batch, time, dim)`: the inner channels, the gates.

        Two products instead of one that is split: results are contiguous, and gradients need no concatenation.
        """
        bias: Tensor | None = self.in_proj.bias  # Linear's annotation leaves out None
        return F.linear(x, self.in_proj.weight.chunk(2)[half], None if bias is None else bias.chunk(2)[half])

    def _convolve(self, inner: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """The convolution of `inner (batch, time, dim)`, and its last inputs; both float32 for half precision."""
        weight, bias = widen(self.conv1d.weight.squeeze(1)), self.conv1d.bias
        return causal_conv(widen(inner), weight, weight.new_zeros(self.dim) if bias is None else widen(bias), state)

    def _select(self, inner: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Step sizes `(batch, time, dim)`, input and output maps `(batch, time, state_dim)`, of the convolved input."""
        selected = self.x_proj(inner.to(self.x_proj.weight.dtype))
        dt, B, C = selected.split([self.dt_rank, self.state_dim, self.state_dim], -1)
        return F.softplus(widen(self.dt_proj(dt))), widen(B), widen(C)

    def state_size(self, length: int) -> int:
        """The number of state elements for one sample, whatever the `length`."""
        return (self.conv1d.kernel_size[0] - 1 + self.state_dim) * self.dim
