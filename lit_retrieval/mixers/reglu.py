"""The paper's feed-forward layer as a mixer that mixes channels and remembers nothing."""

from torch import Tensor, nn
from torch.nn import functional as F

from lit_retrieval.mixers.mixer import check_sizes


class ReGLU(nn.Module):
    """The feed-forward layer of the paper's theory: down(relu(gate(x)) * up(x)), each with a bias.

    arXiv:2402.18510, Definitions 3.1 and 3.4; it can multiply two coordinates.

    Args:
        hidden_size: Elements of each token's vector.
        layer_idx: Index of the layer in the model, from 0; ReGLU does not use it.
        intermediate_size: Elements of the hidden layer.
    """

    def __init__(self, hidden_size: int, layer_idx: int, intermediate_size: int = 256) -> None:
        super().__init__()
        check_sizes(hidden_size, layer_idx, intermediate_size=intermediate_size)
        self.gate_proj = nn.Linear(hidden_size, intermediate_size)
        self.up_proj = nn.Linear(hidden_size, intermediate_size)
        self.down_proj = nn.Linear(intermediate_size, hidden_size)

    def forward(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        """Mix the channels of each token of `x`, `(batch, time, hidden_size)`; the state is None."""
        return self.down_proj(F.relu(self.gate_proj(x)) * self.up_proj(x)), None

    def state_size(self, length: int) -> int:
        """Zero, because tokens are independent."""
        return 0
