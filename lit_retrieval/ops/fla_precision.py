"""The precision of products for which fla's GPU kernels do not use Triton's default."""

import sys
from typing import Literal

_NAME = "SOLVE_TRIL_DOT_PRECISION"  # of kda, gdn2 and the gated delta rule: how they invert the matrix of a chunk


def multiply_in(precision: Literal["ieee", "tf32"]) -> None:
    """Let fla's kernels multiply in IEEE float32 or TF32; call it when the model is built, before any kernel runs.

    Products in tf32x3 or bf16x3 are not changed; as sums of three products they are about as exact as float32.
    """
    for module in [module for name, module in sys.modules.items() if name.startswith("fla.ops.")]:
        if _NAME in vars(module):
            setattr(module, _NAME, type(getattr(module, _NAME))(precision))  # Triton's constexpr
