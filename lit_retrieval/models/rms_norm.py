"""Root-mean-square normalization as a layer, with the parameter name of `nn.RMSNorm`."""

import torch
from torch import Tensor, nn

from lit_retrieval.ops import rms_norm
from lit_retrieval.ranges import check_above, check_at_least


class RMSNorm(nn.Module):
    """Root-mean-square normalization with a learned weight; see `lit_retrieval.ops.rms_norm`.

    Args:
        hidden_size: Elements of each token's vector.
        eps: Keeps a vector of zeros finite.
    """

    def __init__(self, hidden_size: int, eps: float = 1e-5) -> None:
        super().__init__()
        check_at_least("hidden_size", hidden_size, 1, "model.hidden_size")
        check_above("eps", eps, 0, "eps")
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `x`, `(..., hidden_size)`; the result is shaped like it."""
        return rms_norm(x, self.weight, self.eps)
