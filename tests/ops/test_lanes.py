"""Eight numbers at a time against NumPy."""

import numpy as np
from numba import njit

from lit_retrieval.ops.lanes import WIDTH, add_product, add_scaled, load, scale, store, total, zeros


@njit
def work(x, y, result):
    left, right = load(x, 1), load(y, 0)
    mixed = add_product(add_scaled(scale(x[0], left), y[1], right), left, right)
    store(result, 2, mixed)
    return total(mixed), total(zeros())


def test_a_kernel_gives_what_numpy_gives():
    random = np.random.default_rng(0)
    x, y = (random.standard_normal(WIDTH + 3).astype(np.float32) for _ in range(2))
    result = np.zeros(WIDTH + 4, np.float32)
    sums = work(x, y, result)
    left, right = x[1 : WIDTH + 1], y[:WIDTH]
    expected = x[0] * left + y[1] * right + left * right
    np.testing.assert_allclose(result[2 : WIDTH + 2], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(sums, (expected.sum(), 0.0), rtol=1e-5, atol=1e-5)
    assert not result[[0, 1, -2, -1]].any(), "nothing else is written"
