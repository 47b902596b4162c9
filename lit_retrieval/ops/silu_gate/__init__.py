"""A product with a SiLU gate, and the choice of its implementation."""

from torch import Tensor

from lit_retrieval.ops.arrays import runs_on_numba
from lit_retrieval.ops.shapes import check_shape
from lit_retrieval.ops.silu_gate.cpu import silu_gate_cpu
from lit_retrieval.ops.silu_gate.naive import silu_gate_naive

__all__ = ["silu_gate", "silu_gate_cpu", "silu_gate_naive"]


def silu_gate(x: Tensor, gate: Tensor) -> Tensor:
    """Compute x * silu(gate), element by element, as in SwiGLU (Shazeer 2020, arXiv:2002.05202) and Mamba.

    `x`, `gate` and the result have the same shape, which may be any.
    """
    check_shape("gate", gate, tuple(x.shape))
    return silu_gate_cpu(x, gate) if runs_on_numba(x, gate) else silu_gate_naive(x, gate)
