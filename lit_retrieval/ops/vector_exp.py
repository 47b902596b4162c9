"""An exponential that LLVM can vectorise inside a Numba kernel, without Intel's SVML.

`np.exp` in a kernel is a call per number, which keeps the loop around it scalar. This one is plain arithmetic:
exp(x) = 2^k exp(r) with k = rint(x / ln 2), and a polynomial for exp(r) on |r| <= ln(2) / 2 (Cephes, `expf`).
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

# The rounding of k and of r = x - k ln 2 must stay as written, so no "fast": NaN and infinity are kept as well.
FAST_MATH = {"contract", "nsz", "reassoc", "arcp"}

_ZERO_BELOW, _LARGEST = np.float32(-87.0), np.float32(88.0)  # beyond them 2^k leaves float32's normal numbers
_PER_LN2 = np.float32(1.44269504088896341)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # k * high is exact: high has 9 bits
_P5, _P4, _P3 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
_P2, _P1, _P0 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
_ONE = np.float32(1.0)


@intrinsic
def _rint(typing_context: Any, x: Any) -> Any:
    """The nearest integral float32, as one instruction."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.rint", [ir.FloatType()]), arguments)

    return types.float32(types.float32), generate


@intrinsic
def _power_of_two(typing_context: Any, k: Any) -> Any:
    """2^k for an integral float32 k in [-126, 127], written into the exponent's bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integer, float32 = ir.IntType(32), ir.FloatType()
        biased = builder.add(builder.fptosi(arguments[0], integer), ir.Constant(integer, 127))
        return builder.bitcast(builder.shl(biased, ir.Constant(integer, 23)), float32)

    return types.float32(types.float32), generate


@njit(inline="always", fastmath=FAST_MATH)
def vector_exp(x: Any) -> Any:
    """exp(x) of a float32 scalar; below -87 and above 88 it stays at the value there, and NaN stays NaN."""
    x = _ZERO_BELOW if x < _ZERO_BELOW else x
    x = _LARGEST if x > _LARGEST else x
    k: Any = _rint(x * _PER_LN2)  # type: ignore[call-arg]
    r = x - k * _LN2_HIGH
    r = r - k * _LN2_LOW
    p = _P5
    p = p * r + _P4
    p = p * r + _P3
    p = p * r + _P2
    p = p * r + _P1
    p = p * r + _P0
    return (p * r * r + r + _ONE) * _power_of_two(k)
