"""Some float32 numbers as one value inside a Numba kernel, which LLVM turns into SIMD instructions.

A loop over 16 or 32 numbers is too short for LLVM's own vectoriser: it asks first, for every run of the loop, whether
the arrays overlap, and that takes longer than the loop. Here the loads stand before the stores, and nothing is asked.

How many numbers there are is part of the value's type. A kernel is told by `lanes(8)`, `lanes(16)` or `lanes(32)`, a
tuple of so many eights, since Numba compiles a kernel anew for each length of a tuple.
"""

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, models, register_model
from numba.np.arrayobj import make_array

WIDTH = 8
"""The smallest number of lanes, and that of `fold` and `row_sums`."""

_intrinsic: Any = intrinsic  # whose own annotations ask kernels for the typing context, which Numba fills in
_FLAGS = ("contract", "nsz", "reassoc", "arcp")  # as FAST_MATH: NaN and infinity are kept


class _Lanes(types.Type):
    """The type of `width` numbers."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.vector = ir.VectorType(ir.FloatType(), width)
        super().__init__(name=f"Lanes({width})")


class _Place(types.Type):
    """The type of a place in memory."""

    def __init__(self) -> None:
        super().__init__(name="Place")


_PLACE = _Place()


@register_model(_Place)
class _PlaceModel(models.PrimitiveModel):
    def __init__(self, manager: Any, place: Any) -> None:
        super().__init__(manager, place, ir.FloatType().as_pointer())  # type: ignore[no-untyped-call]


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Any) -> None:
        super().__init__(manager, lanes, lanes.vector)  # type: ignore[no-untyped-call]


def lanes(width: int) -> tuple[int, ...]:
    """What tells a kernel how many numbers it takes at a time; `width` is a multiple of `WIDTH`."""
    return (WIDTH,) * (width // WIDTH)


def widest(dim: int) -> tuple[int, ...]:
    """The most lanes that divide `dim`, a multiple of `WIDTH`."""
    return next(lanes(width) for width in (32, 16, 8) if dim % width == 0)


def _address(context: Any, builder: Any, place: Any, offset: Any, offset_type: Any) -> Any:
    return builder.gep(place, [context.cast(builder, offset, offset_type, types.intp)])


def _shuffle(builder: Any, first: Any, second: Any, places: list[int]) -> Any:
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)
    return builder.shuffle_vector(first, second, mask)


def _broadcast(builder: Any, number: Any, vector: Any) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
    return _shuffle(builder, first, undefined, [0] * vector.count)


def _add(builder: Any, left: Any, right: Any) -> Any:
    return builder.fadd(left, right, flags=_FLAGS)


def _multiply(builder: Any, left: Any, right: Any) -> Any:
    return builder.fmul(left, right, flags=_FLAGS)


@_intrinsic  # type: ignore[untyped-decorator]
def place(typing_context: Any, array: Any, start: Any) -> Any:
    """Where number `start` of a contiguous float32 array of any shape is.

    It stands for the part of the array that begins there. A slice would do, but Numba counts who holds one, which takes
    longer than the work on a short one. Nobody counts places, so the array has to outlive them.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, start = arguments
        array_type, start_type = signature.args
        data = make_array(array_type)(context, builder, array).data  # type: ignore[no-untyped-call]
        return _address(context, builder, data, start, start_type)

    return _PLACE(array, start), generate


@njit(cache=True)
def row(array: Any, first: int, second: int, third: int, start: int) -> Any:
    """The place of number `start` of row [first, second, third] of a four-dimensional array."""
    _, seconds, thirds, length = array.shape
    return place(array, ((first * seconds + second) * thirds + third) * length + start)


@_intrinsic  # type: ignore[untyped-decorator]
def number(typing_context: Any, place: Any, offset: Any) -> Any:
    """The float32 number at a place, or `offset` numbers after it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_address(context, builder, arguments[0], arguments[1], signature.args[1]))

    return types.float32(place, offset), generate


@_intrinsic  # type: ignore[untyped-decorator]
def put(typing_context: Any, place: Any, offset: Any, value: Any) -> Any:
    """Write one float32 number to a place, or `offset` numbers after it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _address(context, builder, arguments[0], arguments[1], signature.args[1]))
        return context.get_dummy_value()

    return types.void(place, offset, types.float32), generate


@_intrinsic  # type: ignore[untyped-decorator]
def load(typing_context: Any, lanes: Any, place: Any, offset: Any) -> Any:
    """The numbers that begin at a place, or `offset` numbers after it."""
    loaded = _Lanes(WIDTH * lanes.count)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, arguments[1], arguments[2], signature.args[2])
        return builder.load(builder.bitcast(address, loaded.vector.as_pointer()), align=4)

    return loaded(lanes, place, offset), generate


@_intrinsic  # type: ignore[untyped-decorator]
def store(typing_context: Any, place: Any, offset: Any, numbers: Any) -> Any:
    """Write the numbers to a place, or `offset` numbers after it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, arguments[0], arguments[1], signature.args[1])
        builder.store(arguments[2], builder.bitcast(address, numbers.vector.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(place, offset, numbers), generate


@_intrinsic  # type: ignore[untyped-decorator]
def zeros(typing_context: Any, lanes: Any) -> Any:
    """As many zeros."""
    zero = _Lanes(WIDTH * lanes.count)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(zero.vector, [0.0] * zero.width)

    return zero(lanes), generate


@_intrinsic  # type: ignore[untyped-decorator]
def add(typing_context: Any, left: Any, right: Any) -> Any:
    """The sums of two times as many numbers, lane by lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _add(builder, *arguments)

    return left(left, right), generate


@_intrinsic  # type: ignore[untyped-decorator]
def multiply(typing_context: Any, left: Any, right: Any) -> Any:
    """The products, lane by lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _multiply(builder, *arguments)

    return left(left, right), generate


@_intrinsic  # type: ignore[untyped-decorator]
def scale(typing_context: Any, factor: Any, numbers: Any) -> Any:
    """The numbers, each times one float32 factor."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        factor, vector = arguments
        return _multiply(builder, _broadcast(builder, factor, vector.type), vector)

    return numbers(types.float32, numbers), generate


@_intrinsic  # type: ignore[untyped-decorator]
def add_scaled(typing_context: Any, numbers: Any, factor: Any, others: Any) -> Any:
    """The numbers, and others times one float32 factor added to them."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, factor, others = arguments
        return _add(builder, vector, _multiply(builder, _broadcast(builder, factor, vector.type), others))

    return numbers(numbers, types.float32, others), generate


@_intrinsic  # type: ignore[untyped-decorator]
def add_product(typing_context: Any, numbers: Any, left: Any, right: Any) -> Any:
    """The numbers, and the products of two others, lane by lane, added to them."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, left, right = arguments
        return _add(builder, vector, _multiply(builder, left, right))

    return numbers(numbers, left, right), generate


@_intrinsic  # type: ignore[untyped-decorator]
def fold(typing_context: Any, numbers: Any) -> Any:
    """Eight numbers with the same sum."""
    folded = _Lanes(WIDTH)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (vector,) = arguments
        parts = [
            _shuffle(builder, vector, vector, list(range(start, start + WIDTH)))
            for start in range(0, numbers.width, WIDTH)
        ]
        folded = parts[0]
        for part in parts[1:]:
            folded = _add(builder, folded, part)
        return folded

    return folded(numbers), generate


@_intrinsic  # type: ignore[untyped-decorator]
def row_sums(typing_context: Any, place: Any, offset: Any) -> Any:
    """The sums of eight rows of eight numbers, which stand one after the other from a place, or `offset` later."""
    sums = _Lanes(WIDTH)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, arguments[0], arguments[1], signature.args[1])
        first = builder.bitcast(address, sums.vector.as_pointer())
        vectors = [
            builder.load(builder.gep(first, [ir.Constant(ir.IntType(64), row)]), align=4) for row in range(WIDTH)
        ]
        for distance in (1, 2, 4):  # neighbours are added, and two rows' sums share a vector
            low = [lane & ~distance | (WIDTH if lane & distance else 0) for lane in range(WIDTH)]
            high = [place + distance for place in low]
            vectors = [
                _add(builder, _shuffle(builder, a, b, low), _shuffle(builder, a, b, high))
                for a, b in zip(vectors[::2], vectors[1::2], strict=True)
            ]
        return vectors[0]

    return sums(place, offset), generate


@_intrinsic  # type: ignore[untyped-decorator]
def total(typing_context: Any, numbers: Any) -> Any:
    """The sum of the numbers, float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (vector,) = arguments
        half = numbers.width // 2
        while half:
            low, high = (list(range(start, start + half)) for start in (0, half))
            vector = _add(builder, _shuffle(builder, vector, vector, low), _shuffle(builder, vector, vector, high))
            half //= 2
        return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

    return types.float32(numbers), generate
