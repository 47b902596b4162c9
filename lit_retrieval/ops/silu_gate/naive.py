"""A product with a SiLU gate in plain PyTorch: the reference, for any device and dtype."""

from torch import Tensor
from torch.nn import functional as F


def silu_gate_naive(x: Tensor, gate: Tensor) -> Tensor:
    """Compute x * silu(gate) in PyTorch; arguments and result as in `silu_gate`."""
    return x * F.silu(gate)
