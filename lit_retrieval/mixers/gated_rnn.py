"""The classical gated RNNs, LSTM and GRU, as PyTorch and cuDNN compute them.

With half precision they run in float32, because a cell that counts in bfloat16 stops at 256.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from lit_retrieval.mixers.mixer import check_sizes
from lit_retrieval.ops.half_precision import product_dtype, widen


class LSTMState(NamedTuple):
    """The `output` and the `cell` of an LSTM, `(batch, state_dim)` each."""

    output: Tensor
    cell: Tensor


class LSTM(nn.Module):
    """An LSTM (Hochreiter and Schmidhuber 1997), and a projection back to the model's width.

    Args:
        hidden_size: Elements of each token's vector.
        layer_idx: Index of the layer in the model, from 0; an LSTM does not use it.
        state_dim: Elements of the cell and of the recurrent output, each; `hidden_size` if absent.
    """

    def __init__(self, hidden_size: int, layer_idx: int, state_dim: int | None = None) -> None:
        super().__init__()
        check_sizes(hidden_size, layer_idx, state_dim=state_dim)
        self.rnn = nn.LSTM(hidden_size, state_dim or hidden_size, batch_first=True)
        self.out_proj = nn.Linear(self.rnn.hidden_size, hidden_size, bias=False)

    def forward(self, x: Tensor, state: LSTMState | None = None) -> tuple[Tensor, LSTMState]:
        """Mix tokens along time; arguments and results are those of `Mixer.forward`."""
        before = None if state is None else (state.output.unsqueeze(0), state.cell.unsqueeze(0))
        y, (output, cell) = _run(self.rnn, x, before)
        return self.out_proj(y), LSTMState(output[0], cell[0])

    def inspect(self, x: Tensor) -> dict[str, Tensor]:
        """`decay`: the forget gate, how much of each cell element is kept at each token, `(1, state_dim, time)`."""
        return {"decay": _second_gate(self.rnn, x)}

    def state_size(self, length: int) -> int:
        """The number of state elements for one sample, whatever the `length`."""
        return 2 * self.rnn.hidden_size


class GRU(nn.Module):
    """A GRU (Cho et al. 2014, arXiv:1406.1078), and a projection back to the model's width.

    Args:
        hidden_size: Elements of each token's vector.
        layer_idx: Index of the layer in the model, from 0; a GRU does not use it.
        state_dim: Elements of the state; `hidden_size` if absent.
    """

    def __init__(self, hidden_size: int, layer_idx: int, state_dim: int | None = None) -> None:
        super().__init__()
        check_sizes(hidden_size, layer_idx, state_dim=state_dim)
        self.rnn = nn.GRU(hidden_size, state_dim or hidden_size, batch_first=True)
        self.out_proj = nn.Linear(self.rnn.hidden_size, hidden_size, bias=False)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mix tokens along time; see `Mixer.forward`. The state is `(batch, state_dim)`, at first zeros."""
        y, last = _run(self.rnn, x, None if state is None else state.unsqueeze(0))
        return self.out_proj(y), last[0]

    def inspect(self, x: Tensor) -> dict[str, Tensor]:
        """`decay`: the update gate, how much of each state element is kept at each token, `(1, state_dim, time)`."""
        return {"decay": _second_gate(self.rnn, x)}

    def state_size(self, length: int) -> int:
        """The number of state elements for one sample, whatever the `length`."""
        return self.rnn.hidden_size


def _run(rnn: nn.LSTM | nn.GRU, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    """The outputs in the dtype of the model, and the last state, float32 for half precision."""
    # Only for half precision, because the original weights are contiguous in memory, as cuDNN needs them.
    wide: dict[str, Tensor] = {name: widen(one) for name, one in rnn.named_parameters() if widen(one) is not one}
    with torch.autocast(x.device.type, enabled=False):
        y, last = functional_call(rnn, wide, (widen(x), state)) if wide else rnn(widen(x), state)
    return y.to(product_dtype(x)), last


def _second_gate(rnn: nn.LSTM | nn.GRU, x: Tensor) -> Tensor:
    """The gate that keeps the state, `(batch, state_dim, time)`; it is the second one in PyTorch's LSTM and GRU."""
    before = F.pad(_run(rnn, x, None)[0][:, :-1], (0, 0, 1, 0))
    weights = rnn.all_weights[0]  # of the inputs and of the state, then their biases
    gates = F.linear(x, weights[0], weights[2]) + F.linear(before, weights[1], weights[3])
    return gates.chunk(4 if isinstance(rnn, nn.LSTM) else 3, -1)[1].sigmoid().transpose(1, 2)
