"""Eight float32 numbers as one value inside a Numba kernel, which LLVM turns into SIMD instructions.

A loop over 16 or 32 numbers is too short for LLVM's own vectoriser: it asks first, for every run of the loop, whether
the arrays overlap, and that takes longer than the loop. Here the loads stand before the stores, and nothing is asked.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model
from numba.np.arrayobj import make_array

WIDTH = 8
_VECTOR = ir.VectorType(ir.FloatType(), WIDTH)
_intrinsic: Any = intrinsic  # whose own annotations ask kernels for the typing context, which Numba fills in
_FLAGS = ("contract", "nsz", "reassoc", "arcp")  # as FAST_MATH: NaN and infinity are kept


class _Lanes(types.Type):
    """The type of eight numbers."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


_LANES = _Lanes()


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Any) -> None:
        super().__init__(manager, lanes, _VECTOR)  # type: ignore[no-untyped-call]


def _address(context: Any, builder: Any, array_type: Any, array: Any, start: Any) -> Any:
    data = make_array(array_type)(context, builder, array).data  # type: ignore[no-untyped-call]
    return builder.bitcast(builder.gep(data, [start]), _VECTOR.as_pointer())


def _broadcast(builder: Any, number: Any) -> Any:
    zero = ir.Constant(ir.IntType(32), 0)
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), number, zero)
    mask = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
    return builder.shuffle_vector(first, ir.Constant(_VECTOR, ir.Undefined), mask)


@_intrinsic  # type: ignore[untyped-decorator]
def load(typing_context: Any, array: Any, start: Any) -> Any:
    """The numbers of a contiguous one-dimensional array from `start` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = context.cast(builder, arguments[1], signature.args[1], types.intp)
        return builder.load(_address(context, builder, signature.args[0], arguments[0], start), align=4)

    return _LANES(array, start), generate


@_intrinsic  # type: ignore[untyped-decorator]
def store(typing_context: Any, array: Any, start: Any, numbers: Any) -> Any:
    """Write the numbers into a contiguous one-dimensional array from `start` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = context.cast(builder, arguments[1], signature.args[1], types.intp)
        builder.store(arguments[2], _address(context, builder, signature.args[0], arguments[0], start), align=4)
        return context.get_dummy_value()

    return types.void(array, start, _LANES), generate


@_intrinsic  # type: ignore[untyped-decorator]
def zeros(typing_context: Any) -> Any:
    """Eight zeros."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(_VECTOR, [0.0] * WIDTH)

    return _LANES(), generate


@_intrinsic  # type: ignore[untyped-decorator]
def scale(typing_context: Any, factor: Any, numbers: Any) -> Any:
    """The numbers, each times one float32 factor."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fmul(_broadcast(builder, arguments[0]), arguments[1], flags=_FLAGS)

    return _LANES(types.float32, _LANES), generate


@_intrinsic  # type: ignore[untyped-decorator]
def add_scaled(typing_context: Any, numbers: Any, factor: Any, others: Any) -> Any:
    """The numbers, and others times one float32 factor added to them."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        product = builder.fmul(_broadcast(builder, arguments[1]), arguments[2], flags=_FLAGS)
        return builder.fadd(arguments[0], product, flags=_FLAGS)

    return _LANES(_LANES, types.float32, _LANES), generate


@_intrinsic  # type: ignore[untyped-decorator]
def add_product(typing_context: Any, numbers: Any, left: Any, right: Any) -> Any:
    """The numbers, and the products of two others, lane by lane, added to them."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fadd(arguments[0], builder.fmul(arguments[1], arguments[2], flags=_FLAGS), flags=_FLAGS)

    return _LANES(_LANES, _LANES, _LANES), generate


@_intrinsic  # type: ignore[untyped-decorator]
def total(typing_context: Any, numbers: Any) -> Any:
    """The sum of the eight numbers, float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (vector,) = arguments
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        for distance in (4, 2, 1):  # halves are added to halves
            places = [(place + distance) % WIDTH for place in range(WIDTH)]
            mask = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), places)
            vector = builder.fadd(vector, builder.shuffle_vector(vector, undefined, mask), flags=_FLAGS)
        return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

    return types.float32(_LANES), generate
