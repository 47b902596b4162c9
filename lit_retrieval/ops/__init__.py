"""Recurrences and other kernels as functions of tensors; README.md shows how to add one."""

from lit_retrieval.ops.causal_conv import causal_conv
from lit_retrieval.ops.linear_recurrence import linear_recurrence
from lit_retrieval.ops.linear_rnn import linear_rnn
from lit_retrieval.ops.mesa_solve import mesa_solve
from lit_retrieval.ops.rms_norm import rms_norm
from lit_retrieval.ops.rotary import rotate
from lit_retrieval.ops.selective_scan import selective_scan
from lit_retrieval.ops.silu_gate import silu_gate
from lit_retrieval.ops.slot_recurrence import slot_recurrence

__all__ = [
    "causal_conv", "linear_recurrence", "linear_rnn", "mesa_solve", "rms_norm", "rotate", "selective_scan", "silu_gate",
    "slot_recurrence",
]  # fmt: skip
