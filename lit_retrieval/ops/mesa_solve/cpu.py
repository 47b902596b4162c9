"""Regularized least squares at every step by conjugate gradients in Numba, for float32 on a CPU."""

from functools import partial
from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops.arrays import run_kernel
from lit_retrieval.ops.lanes import (
    WIDTH,
    add,
    add_product,
    add_scaled,
    load,
    load_scalar,
    multiply,
    pointer,
    scale,
    store,
    store_scalar,
    total,
    widest,
    zeros,
)
from lit_retrieval.ops.linear_recurrence import linear_recurrence
from lit_retrieval.ops.mesa_solve.gradients import solve_with_gradients
from lit_retrieval.ops.rows import copy_rows, row
from lit_retrieval.ops.vector_exp import FAST_MATH

_SOLVED = np.float32(1e-14)  # of the squared residual, as a share of the squared right side: float32 rounds to 6e-8


def mesa_solve_cpu(
    q: Tensor,
    k: Tensor,
    log_decay: Tensor,
    rate: Tensor,
    ridge: Tensor,
    state: Tensor | None = None,
    iterations: int = 30,
    from_diagonal: bool = False,
) -> tuple[Tensor, Tensor]:
    """The solutions by conjugate gradients; arguments and results as in `mesa_solve`."""
    key_dim, missing = q.shape[-1], (0, -q.shape[-1] % WIDTH)
    if missing[1]:
        matrix = None if state is None else F.pad(state, (*missing, *missing))
        q, k, ridge = F.pad(q, missing), F.pad(k, missing), F.pad(ridge, missing, value=1.0)
        x, last_state = mesa_solve_cpu(q, k, log_decay, rate, ridge, matrix, iterations, from_diagonal)
        return x[..., :key_dim], last_state[..., :key_dim, :key_dim]
    solve = partial(_solve, iterations, from_diagonal)
    return solve_with_gradients(solve, linear_recurrence, q, k, log_decay, rate, ridge, state)


def _solve(iterations: int, from_diagonal: bool, q: Tensor, k: Tensor, log_decay: Tensor, *others: Tensor) -> Tensor:
    """The solutions without gradients."""
    tensors = [one.contiguous() for one in (q, k, log_decay.exp(), *others)]
    x = torch.empty_like(tensors[0])
    run_kernel(_run, widest(q.shape[-1]), iterations, int(from_diagonal), *tensors, x)
    return x


@njit(parallel=True, fastmath=FAST_MATH, cache=True, error_model="numpy")
def _run(
    width: Any, iterations: int, from_diagonal: int, q: Any, k: Any, decay: Any, rate: Any, ridge: Any, state: Any,
    x: Any,
) -> None:  # fmt: skip
    """All steps of every head."""
    batch, _, heads, dim = q.shape
    for part in prange(batch * heads):
        b, h, memory = part // heads, part % heads, np.empty((dim + 3) * dim, np.float32)
        for start in range(0, dim, WIDTH * len(width)):
            copy_rows(width, dim, row(state, b, h, 0, start), dim, pointer(memory, start), dim)
        _run_head(width, iterations, from_diagonal, (q, k, decay, rate, ridge), b, h, x, memory)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _run_head(
    width: Any, iterations: int, from_diagonal: int, inputs: Any, b: int, h: int, x: Any, memory: Any
) -> None:
    """All steps of one head; `memory` is the matrix as it changes, then the residual, the direction and its image."""
    (q, k, decay, rate, ridge), (_, time, heads, dim) = inputs, x.shape
    matrix, vectors, ridges = pointer(memory, 0), pointer(memory, dim * dim), pointer(ridge, h * dim)
    for t in range(time):
        at = (b * time + t) * heads + h
        kept, written = load_scalar(pointer(decay, at), 0), load_scalar(pointer(rate, at), 0)
        _update(width, dim, matrix, pointer(k, at * dim), kept, written)
        right, found = pointer(q, at * dim), pointer(x, at * dim)
        _begin(width, dim, matrix, ridges, right, found, vectors, from_diagonal)
        _iterate(width, iterations, dim, matrix, ridges, _SOLVED * _square(width, dim, right), found, vectors)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _update(width: Any, dim: int, matrix: Any, k: Any, decay: Any, rate: Any) -> None:
    """The matrix after a step."""
    for i in range(dim):
        weight = rate * load_scalar(k, i)
        for j in range(0, dim, WIDTH * len(width)):
            kept = scale(decay, load(width, matrix, i * dim + j))
            store(matrix, i * dim + j, add_scaled(kept, weight, load(width, k, j)))


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _begin(width: Any, dim: int, matrix: Any, ridge: Any, q: Any, x: Any, vectors: Any, from_diagonal: int) -> None:
    """The first guess in `x`, and its residual, which is the first direction too."""
    for i in range(dim):
        diagonal = load_scalar(matrix, i * dim + i) + load_scalar(ridge, i)
        store_scalar(x, i, load_scalar(q, i) / diagonal if from_diagonal else np.float32(0))
    if from_diagonal:
        _multiply(width, dim, matrix, ridge, x, 0, vectors)
    for j in range(0, dim, WIDTH * len(width)):
        residual = load(width, q, j)
        if from_diagonal:
            residual = add_scaled(residual, np.float32(-1), load(width, vectors, 2 * dim + j))
        store(vectors, j, residual)
        store(vectors, dim + j, residual)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _multiply(width: Any, dim: int, matrix: Any, ridge: Any, p: Any, first: int, vectors: Any) -> Any:
    """Store (matrix + diag(ridge)) p as the image, and return its product with p, which begins at element `first`."""
    product = zeros(width)
    for j in range(0, dim, WIDTH * len(width)):
        block = load(width, p, first + j)
        even, odd = multiply(load(width, ridge, j), block), zeros(width)
        for i in range(0, dim, 2):  # two sums, since each addition waits for the one before
            even = add_scaled(even, load_scalar(p, first + i), load(width, matrix, i * dim + j))
            odd = add_scaled(odd, load_scalar(p, first + i + 1), load(width, matrix, (i + 1) * dim + j))
        found = add(even, odd)
        store(vectors, 2 * dim + j, found)
        product = add_product(product, block, found)
    return total(product)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _square(width: Any, dim: int, vector: Any) -> Any:
    """The sum of a vector's squares."""
    found = zeros(width)
    for j in range(0, dim, WIDTH * len(width)):
        block = load(width, vector, j)
        found = add_product(found, block, block)
    return total(found)


@njit(fastmath=FAST_MATH, cache=True, error_model="numpy")
def _iterate(width: Any, iterations: int, dim: int, matrix: Any, ridge: Any, enough: Any, x: Any, vectors: Any) -> None:
    """Conjugate gradients (Hestenes and Stiefel 1952) until the squared residual is at most `enough`."""
    before = _square(width, dim, vectors)
    for _ in range(iterations):
        if before <= enough:
            return
        step = before / _multiply(width, dim, matrix, ridge, vectors, dim, vectors)
        for j in range(0, dim, WIDTH * len(width)):
            store(x, j, add_scaled(load(width, x, j), step, load(width, vectors, dim + j)))
            store(vectors, j, add_scaled(load(width, vectors, j), -step, load(width, vectors, 2 * dim + j)))
        after = _square(width, dim, vectors)
        for j in range(0, dim, WIDTH * len(width)):
            direction = add_scaled(load(width, vectors, j), after / before, load(width, vectors, dim + j))
            store(vectors, dim + j, direction)
        before = after
