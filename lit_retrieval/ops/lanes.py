"""SIMD vectors of float32 for Numba kernels: elements (lanes) that are loaded, computed with and stored together.

LLVM vectorizes long loops by itself. For a loop over 16 or 32 elements this does not pay, because a check for
overlapping arrays, before every run, takes longer than the loop. With explicit vectors, loads come before stores, so no
check is needed.

The number of lanes is part of a vector's type. A kernel gets it as a tuple, `lanes(8)`, `lanes(16)` or `lanes(32)`,
because Numba compiles a kernel once for each length of a tuple. There are `WIDTH * len(width)` lanes.
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model
from numba.np.arrayobj import make_array

WIDTH = 8
"""The smallest number of lanes; `fold` and `row_sums` return so many."""

_intrinsic: Any = intrinsic  # untyped: its annotations ask callers for the typing context, which Numba passes
_FLAGS = ("contract", "nsz", "reassoc", "arcp")  # as in FAST_MATH; NaN and infinity are kept


class _Lanes(types.Type):
    """The type of a vector of `width` elements."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.vector = ir.VectorType(ir.FloatType(), width)
        super().__init__(name=f"Lanes({width})")


class _Pointer(types.Type):
    """The type of a pointer to float32 elements."""

    def __init__(self) -> None:
        super().__init__(name="Pointer")


_POINTER = _Pointer()


@register_model(_Pointer)
class _PointerModel(models.PrimitiveModel):
    def __init__(self, manager: Any, pointer: Any) -> None:
        super().__init__(manager, pointer, ir.FloatType().as_pointer())  # type: ignore[no-untyped-call]


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Any) -> None:
        super().__init__(manager, lanes, lanes.vector)  # type: ignore[no-untyped-call]


def lanes(width: int) -> tuple[int, ...]:
    """The tuple that gives a kernel its number of lanes, `width`, a multiple of `WIDTH`."""
    return (WIDTH,) * (width // WIDTH)


def widest(dim: int) -> tuple[int, ...]:
    """The largest number of lanes that divides `dim`, a multiple of `WIDTH`, as `lanes` gives it."""
    return next(lanes(width) for width in (32, 16, 8) if dim % width == 0)


def _address(context: Any, builder: Any, pointer: Any, offset: Any, offset_type: Any) -> Any:
    return builder.gep(pointer, [context.cast(builder, offset, offset_type, types.intp)])


def _shuffle(builder: Any, first: Any, second: Any, lanes: list[int]) -> Any:
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
    return builder.shuffle_vector(first, second, mask)


def _broadcast(builder: Any, element: Any, vector: Any) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, element, ir.Constant(ir.IntType(32), 0))
    return _shuffle(builder, first, undefined, [0] * vector.count)


def _add(builder: Any, left: Any, right: Any) -> Any:
    return builder.fadd(left, right, flags=_FLAGS)


def _multiply(builder: Any, left: Any, right: Any) -> Any:
    return builder.fmul(left, right, flags=_FLAGS)


def _scale(builder: Any, factor: Any, vector: Any) -> Any:
    return _multiply(builder, _broadcast(builder, factor, vector.type), vector)


def _generate_by(compute: Callable[..., Any]) -> Callable[..., Any]:
    """The code of an intrinsic, `compute(builder, *arguments)`."""
    return lambda context, builder, signature, arguments: compute(builder, *arguments)


@_intrinsic  # type: ignore[untyped-decorator]
def pointer(typing_context: Any, array: Any, start: Any) -> Any:
    """A pointer to element `start` of a contiguous float32 array of any shape.

    The pointer is not reference-counted, so keep the array alive. (A slice is reference-counted, which takes longer
    than the work on a short row.)
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, start = arguments
        array_type, start_type = signature.args
        data = make_array(array_type)(context, builder, array).data  # type: ignore[no-untyped-call]
        return _address(context, builder, data, start, start_type)

    return _POINTER(array, start), generate


@_intrinsic  # type: ignore[untyped-decorator]
def load_scalar(typing_context: Any, pointer: Any, offset: Any) -> Any:
    """The float32 element at a pointer plus `offset` elements."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_address(context, builder, arguments[0], arguments[1], signature.args[1]))

    return types.float32(pointer, offset), generate


@_intrinsic  # type: ignore[untyped-decorator]
def store_scalar(typing_context: Any, pointer: Any, offset: Any, value: Any) -> Any:
    """Store one float32 element at a pointer plus `offset` elements."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _address(context, builder, arguments[0], arguments[1], signature.args[1]))
        return context.get_dummy_value()

    return types.void(pointer, offset, types.float32), generate


@_intrinsic  # type: ignore[untyped-decorator]
def load(typing_context: Any, lanes: Any, pointer: Any, offset: Any) -> Any:
    """The vector that begins at a pointer plus `offset` elements."""
    loaded = _Lanes(WIDTH * lanes.count)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, arguments[1], arguments[2], signature.args[2])
        return builder.load(builder.bitcast(address, loaded.vector.as_pointer()), align=4)

    return loaded(lanes, pointer, offset), generate


@_intrinsic  # type: ignore[untyped-decorator]
def store(typing_context: Any, pointer: Any, offset: Any, vector: Any) -> Any:
    """Store a vector at a pointer plus `offset` elements."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, arguments[0], arguments[1], signature.args[1])
        builder.store(arguments[2], builder.bitcast(address, vector.vector.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(pointer, offset, vector), generate


@_intrinsic  # type: ignore[untyped-decorator]
def zeros(typing_context: Any, lanes: Any) -> Any:
    """A vector of zeros."""
    zero = _Lanes(WIDTH * lanes.count)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(zero.vector, [0.0] * zero.width)

    return zero(lanes), generate


@_intrinsic  # type: ignore[untyped-decorator]
def add(typing_context: Any, left: Any, right: Any) -> Any:
    """The sum of two vectors, lane by lane."""
    return left(left, right), _generate_by(_add)


@_intrinsic  # type: ignore[untyped-decorator]
def multiply(typing_context: Any, left: Any, right: Any) -> Any:
    """The product of two vectors, lane by lane."""
    return left(left, right), _generate_by(_multiply)


@_intrinsic  # type: ignore[untyped-decorator]
def scale(typing_context: Any, factor: Any, vector: Any) -> Any:
    """A float32 factor times a vector."""
    return vector(types.float32, vector), _generate_by(_scale)


@_intrinsic  # type: ignore[untyped-decorator]
def add_scaled(typing_context: Any, vector: Any, factor: Any, other: Any) -> Any:
    """`vector + factor * other`, with a float32 factor."""
    generate = _generate_by(lambda builder, vector, *scaled: _add(builder, vector, _scale(builder, *scaled)))
    return vector(vector, types.float32, other), generate


@_intrinsic  # type: ignore[untyped-decorator]
def add_product(typing_context: Any, vector: Any, left: Any, right: Any) -> Any:
    """`vector + left * right`, lane by lane."""
    generate = _generate_by(lambda builder, vector, *factors: _add(builder, vector, _multiply(builder, *factors)))
    return vector(vector, left, right), generate


@_intrinsic  # type: ignore[untyped-decorator]
def swap_neighbors(typing_context: Any, vector: Any) -> Any:
    """A vector with lanes 0 and 1, 2 and 3, ... exchanged."""
    swapped = [lane ^ 1 for lane in range(vector.width)]
    return vector(vector), _generate_by(lambda builder, value: _shuffle(builder, value, value, swapped))


@_intrinsic  # type: ignore[untyped-decorator]
def fold(typing_context: Any, vector: Any) -> Any:
    """A vector of `WIDTH` lanes with the same total."""
    folded = _Lanes(WIDTH)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (value,) = arguments
        parts = [list(range(start, start + WIDTH)) for start in range(0, vector.width, WIDTH)]
        return reduce(partial(_add, builder), [_shuffle(builder, value, value, part) for part in parts])

    return folded(vector), generate


@_intrinsic  # type: ignore[untyped-decorator]
def row_sums(typing_context: Any, pointer: Any, offset: Any) -> Any:
    """The totals of eight rows of eight elements, stored one after the other from a pointer plus `offset` elements."""
    sums = _Lanes(WIDTH)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, arguments[0], arguments[1], signature.args[1])
        first = builder.bitcast(address, sums.vector.as_pointer())
        rows = [builder.gep(first, [ir.Constant(ir.IntType(64), row)]) for row in range(WIDTH)]
        vectors = [builder.load(row, align=4) for row in rows]
        for distance in (1, 2, 4):  # adds neighbors, and puts two rows' sums into one vector
            low = [lane & ~distance | (WIDTH if lane & distance else 0) for lane in range(WIDTH)]
            high = [lane + distance for lane in low]
            vectors = [
                _add(builder, _shuffle(builder, a, b, low), _shuffle(builder, a, b, high))
                for a, b in zip(vectors[::2], vectors[1::2], strict=True)
            ]
        return vectors[0]

    return sums(pointer, offset), generate


@_intrinsic  # type: ignore[untyped-decorator]
def total(typing_context: Any, vector: Any) -> Any:
    """The sum of a vector's elements, float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (value,) = arguments
        half = vector.width // 2
        while half:
            low, high = (list(range(start, start + half)) for start in (0, half))
            value = _add(builder, _shuffle(builder, value, value, low), _shuffle(builder, value, value, high))
            half //= 2
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return types.float32(vector), generate
