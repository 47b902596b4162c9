"""An exponential for Numba kernels that LLVM can vectorize, without Intel's SVML.

`np.exp` in a kernel is a call for each element, which keeps the loop around it scalar. This one is plain arithmetic:
exp(x) = 2^k exp(r) with k = rint(x / ln 2), and a polynomial for exp(r) on |r| <= ln(2) / 2 (Cephes, `expf`).
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

FAST_MATH = {"contract", "nsz", "reassoc", "arcp"}  # no "fast": NaN and infinity are kept

_ZERO_BELOW, _LARGEST = -87.0, 88.0  # beyond them 2^k is not a normal float32
_PER_LN2 = 1.44269504088896341
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4  # k * high is exact: high has 9 bits
_POLYNOMIAL = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_intrinsic: Any = intrinsic  # untyped: its annotations ask callers for the typing context, which Numba passes


@_intrinsic  # type: ignore[untyped-decorator]
def vector_exp(typing_context: Any, x: Any) -> Any:
    """exp(x) of a float32 or of a vector; constant below -87 and above 88, and NaN stays NaN."""
    vector = getattr(x, "vector", None)  # None for a float32
    kind = types.float32 if vector is None else x

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _generate(builder, arguments[0], vector or ir.FloatType())

    return kind(kind), generate


def _generate(builder: Any, x: Any, numbers: Any) -> Any:
    """The instructions, for one float32 or a vector."""
    is_vector = isinstance(numbers, ir.VectorType)
    integers = ir.VectorType(ir.IntType(32), numbers.count) if is_vector else ir.IntType(32)

    def constant(value: float, kind: Any = numbers) -> Any:
        return ir.Constant(kind, [value] * numbers.count if is_vector else value)

    def multiply_add(a: Any, b: Any, c: Any) -> Any:
        return builder.fadd(builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))

    for limit, is_beyond in ((_ZERO_BELOW, "<"), (_LARGEST, ">")):
        x = builder.select(builder.fcmp_ordered(is_beyond, x, constant(limit)), constant(limit), x)
    name = f"llvm.rint.v{numbers.count}f32" if is_vector else "llvm.rint.f32"
    rint = get_or_insert_function(builder.module, ir.FunctionType(numbers, [numbers]), name)  # type: ignore[no-untyped-call]
    k = builder.call(rint, [builder.fmul(x, constant(_PER_LN2))])
    r = multiply_add(k, constant(-_LN2_LOW), multiply_add(k, constant(-_LN2_HIGH), x))
    p = constant(_POLYNOMIAL[0])
    for coefficient in _POLYNOMIAL[1:]:
        p = multiply_add(p, r, constant(coefficient))
    p = builder.fadd(multiply_add(builder.fmul(p, r), r, r), constant(1.0))
    # 2^k by its exponent's bits: k is in [-126, 127].
    biased = builder.add(builder.fptosi(k, integers), constant(127, integers))
    return builder.fmul(p, builder.bitcast(builder.shl(biased, constant(23, integers)), numbers))
