"""Some numbers at a time against NumPy."""

import numpy as np
import pytest
from numba import njit

from lit_retrieval.ops.lanes import (
    WIDTH,
    add,
    add_product,
    add_scaled,
    fold,
    lanes,
    load,
    load_scalar,
    multiply,
    pointer,
    row_sums,
    scale,
    store,
    store_scalar,
    swap_neighbors,
    total,
    zeros,
)
from lit_retrieval.ops.rows import row
from lit_retrieval.ops.vector_exp import vector_exp


@njit
def work(width, x, y, result):
    left, right = load(width, pointer(x, 0), 1), load(width, pointer(y, 0), 0)
    mixed = add_product(add_scaled(scale(x[0], left), load_scalar(pointer(y, 1), 0), right), left, right)
    store(pointer(result, 1), 1, add(mixed, zeros(width)))
    store_scalar(pointer(result, len(result) - 2), 1, total(fold(multiply(left, right))))
    return total(mixed), total(zeros(width)), total(multiply(swap_neighbors(left), right))


@njit
def sum_rows(width, x, sums):
    store(pointer(sums, 0), 1, row_sums(pointer(x, 0), 1))
    return total(load(width, row(x.reshape(1, 1, -1, 5), 0, 0, 1, 2), 0))


@pytest.mark.parametrize("width", [8, 16, 32])
def test_a_kernel_gives_what_numpy_gives(width):
    random = np.random.default_rng(0)
    x, y = (random.standard_normal(width + 3).astype(np.float32) for _ in range(2))
    result = np.zeros(width + 4, np.float32)
    sums = work(lanes(width), x, y, result)
    left, right = x[1 : width + 1], y[:width]
    expected = x[0] * left + y[1] * right + left * right
    np.testing.assert_allclose(result[2 : width + 2], expected, rtol=1e-5, atol=1e-6)
    swapped = left.reshape(-1, 2)[:, ::-1].flatten()
    np.testing.assert_allclose(sums, (expected.sum(), 0.0, swapped @ right), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(result[-1], (left * right).sum(), rtol=1e-5, atol=1e-5)
    assert not result[[0, 1, -2]].any(), "nothing else is written"


def test_sums_of_eight_rows_are_those_of_numpy():
    x = np.random.default_rng(0).standard_normal(WIDTH * WIDTH + 1).astype(np.float32)
    sums = np.zeros(WIDTH + 2, np.float32)
    found = sum_rows(lanes(WIDTH), x, sums)
    np.testing.assert_allclose(sums[1:-1], x[1:].reshape(WIDTH, WIDTH).sum(1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found, x[7:15].sum(), rtol=1e-5, atol=1e-5)
    assert not sums[[0, -1]].any(), "nothing else is written"


@njit
def exponentials(width, x, of_lanes, of_numbers):
    for i in range(0, len(x), WIDTH * len(width)):
        store(pointer(of_lanes, 0), i, vector_exp(load(width, pointer(x, 0), i)))
    for i in range(len(x)):
        of_numbers[i] = vector_exp(x[i])


@pytest.mark.parametrize("width", [8, 16, 32])
def test_an_exponential_is_that_of_numpy_and_keeps_nan(width):
    x = np.linspace(-87, 88, 64, dtype=np.float32)
    of_lanes, of_numbers = np.empty_like(x), np.empty_like(x)
    exponentials(lanes(width), x, of_lanes, of_numbers)
    np.testing.assert_allclose(of_lanes, np.exp(x.astype(np.float64)), rtol=3e-7)
    np.testing.assert_array_equal(of_lanes, of_numbers)
    x[:4] = np.nan, -np.inf, -1e30, np.inf
    exponentials(lanes(width), x, of_lanes, of_numbers)
    np.testing.assert_array_equal(of_lanes, of_numbers)
    assert np.isnan(of_lanes[0]) and (of_lanes[1:3] < 2e-38).all() and of_lanes[3] == of_lanes[-1] > 1e38
