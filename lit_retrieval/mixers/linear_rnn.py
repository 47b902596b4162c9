"""The paper's linear RNN."""

import torch
from torch import Tensor, nn

from lit_retrieval.mixers.mixer import check_sizes
from lit_retrieval.ops import linear_rnn


class LinearRNN(nn.Module):
    """The linear unit of the paper's RNN: h_t = A h_{t-1} + B x_t, and h_t is the output (arXiv:2402.18510, Def. 3.4).

    Followed by a ReGLU, and with `norm: none` in the model, it is the paper's block.

    Args:
        hidden_size: Elements of each token's vector, and of the state.
        layer_idx: Index of the layer in the model, from 0; this mixer does not use it.
        diagonal: Whether A is diagonal; if not, A is a full matrix, initially orthogonal.
    """

    def __init__(self, hidden_size: int, layer_idx: int, diagonal: bool = False) -> None:
        super().__init__()
        check_sizes(hidden_size, layer_idx)
        self.A = nn.Parameter(torch.empty(hidden_size) if diagonal else torch.empty(hidden_size, hidden_size))
        self.B = nn.Linear(hidden_size, hidden_size, bias=False)
        if diagonal:
            nn.init.uniform_(self.A, 0.9, 1.0)
        else:
            nn.init.orthogonal_(self.A)
        self.A._no_weight_decay = True  # type: ignore[attr-defined]  # decay would shorten the memory

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mix tokens along time; see `Mixer.forward`. The state is h, `(batch, hidden_size)`, at first zeros."""
        u = self.B(x)
        h = linear_rnn(u, self.A, state)
        return h.to(u.dtype), h[:, -1]

    def inspect(self, x: Tensor) -> dict[str, Tensor]:
        """`decay`: |A|, at most 1, for each state element, `(1, hidden_size, time)`; no map if A is full."""
        if self.A.dim() > 1:
            return {}
        return {"decay": self.A.abs().clamp(max=1)[:, None].expand(1, -1, x.shape[1])}

    def state_size(self, length: int) -> int:
        """The number of state elements for one sample, whatever the `length`."""
        return len(self.A)
