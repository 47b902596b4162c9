"""Rows of float32 arrays inside Numba kernels: where one begins, copies of rows, and sums over lanes."""

from typing import Any

from numba import njit

from lit_retrieval.ops.lanes import WIDTH, add, lanes, load, load_scalar, pointer, row_sums, store, store_scalar
from lit_retrieval.ops.vector_exp import FAST_MATH

_ONE_ROW = lanes(WIDTH)


@njit(cache=True)
def row(array: Any, first: int, second: int, third: int, start: int) -> Any:
    """The pointer to element `start` of row [first, second, third] of a four-dimensional array."""
    _, seconds, thirds, length = array.shape
    return pointer(array, ((first * seconds + second) * thirds + third) * length + start)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def copy_rows(width: Any, count: int, source: Any, source_step: int, target: Any, target_step: int) -> None:
    """Copy the first lanes of each of `count` rows; a row begins so many elements (a step) after the one before it."""
    for i in range(count):
        store(target, i * target_step, load(width, source, i * source_step))


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def add_row_sums(count: int, parts: Any, start: int, sums: Any) -> None:
    """Add to each of `count` elements of `sums` the eight elements of its row in `parts`, which begin at `start`."""
    whole = count - count % WIDTH
    for i in range(0, whole, WIDTH):
        store(sums, i, add(load(_ONE_ROW, sums, i), row_sums(parts, start + i * WIDTH)))
    for i in range(whole, count):
        total = load_scalar(sums, i)
        for lane in range(WIDTH):
            total += load_scalar(parts, start + i * WIDTH + lane)
        store_scalar(sums, i, total)
