"""LLaMA's feed-forward layer as a mixer that mixes channels and remembers nothing."""

from torch import Tensor, nn
from torch.nn import functional as F

from lit_retrieval.mixers.mixer import check_sizes
from lit_retrieval.ops import silu_gate


class SwiGLU(nn.Module):
    """LLaMA's feed-forward layer: down(silu(gate(x)) * up(x))  (Shazeer 2020, arXiv:2002.05202).

    Args:
        hidden_size: Elements of each token's vector.
        layer_idx: Index of the layer in the model, from 0; SwiGLU does not use it.
        intermediate_size: Elements of the hidden layer.
    """

    def __init__(self, hidden_size: int, layer_idx: int, intermediate_size: int = 256) -> None:
        super().__init__()
        check_sizes(hidden_size, layer_idx, intermediate_size=intermediate_size)
        self.gate_up_proj = nn.Linear(hidden_size, 2 * intermediate_size, bias=False)
        self.down_proj = nn.Linear(intermediate_size, hidden_size, bias=False)
        for projection in (self.gate_up_proj, self.down_proj):
            nn.init.normal_(projection.weight, std=0.02)

    def forward(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        """Mix the channels of each token of `x`, `(batch, time, hidden_size)`; the state is None."""
        # Two products instead of one that is split: results are contiguous, and gradients need no concatenation.
        gate_weight, up_weight = self.gate_up_proj.weight.chunk(2)
        return self.down_proj(silu_gate(F.linear(x, up_weight), F.linear(x, gate_weight))), None

    def state_size(self, length: int) -> int:
        """Zero, because tokens are independent."""
        return 0
