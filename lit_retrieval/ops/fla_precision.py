"""The precision of products that fla's GPU kernels name themselves, where Triton's default does not count."""

import sys
from typing import Literal

_NAME = "SOLVE_TRIL_DOT_PRECISION"  # of kda, gdn2 and the gated delta rule: how they invert the matrix of a chunk


def multiply_in(precision: Literal["ieee", "tf32"]) -> None:
    """Let fla's kernels multiply in IEEE float32 or TF32; call it when the model is built, before any kernel runs.

    What fla has in tf32x3 or bf16x3 stays: these are sums of three products, about as exact as float32.
    """
    for module in [module for name, module in sys.modules.items() if name.startswith("fla.ops.")]:
        if _NAME in vars(module):
            setattr(module, _NAME, type(getattr(module, _NAME))(precision))  # Triton's constexpr
