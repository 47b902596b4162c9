"""A product with a SiLU gate by PyTorch: any device, any dtype, the meaning of the op."""

from torch import Tensor
from torch.nn import functional as F


def silu_gate_naive(x: Tensor, gate: Tensor) -> Tensor:
    """Compute x * silu(gate) by PyTorch; arguments and result as in `silu_gate`."""
    return x * F.silu(gate)
