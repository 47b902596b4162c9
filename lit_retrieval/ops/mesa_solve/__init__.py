"""Regularized least squares over all steps so far, and the choice of its implementation."""

from torch import Tensor

from lit_retrieval.ops.arrays import runs_on_numba
from lit_retrieval.ops.half_precision import in_float32
from lit_retrieval.ops.mesa_solve.cpu import mesa_solve_cpu
from lit_retrieval.ops.mesa_solve.naive import mesa_solve_naive
from lit_retrieval.ops.shapes import check_shape

__all__ = ["mesa_solve", "mesa_solve_cpu", "mesa_solve_naive"]


@in_float32
def mesa_solve(
    q: Tensor,
    k: Tensor,
    log_decay: Tensor,
    rate: Tensor,
    ridge: Tensor,
    state: Tensor | None = None,
    iterations: int = 30,
    from_diagonal: bool = False,
) -> tuple[Tensor, Tensor]:
    """Solve (H_t + diag(ridge)) x_t = q_t at every step, where H_t = exp(g_t) H_{t-1} + r_t k_t k_t^T.

    Linear attention with x in place of q reads the values of the least-squares map from keys to values
    (MesaNet, von Oswald et al. 2025, arXiv:2506.05233, equation 8).

    Args:
        q, k: Queries and keys, `(batch, time, heads, key_dim)`.
        log_decay: g, the log of each step's decay, at most 0, `(batch, time, heads, 1)`.
        rate: r, the weight of each step, `(batch, time, heads, 1)`.
        ridge: Added to the diagonal, positive, `(heads, key_dim)`.
        state: The symmetric matrix H before the first step, `(batch, heads, key_dim, key_dim)`; zeros if absent.
        iterations: Maximum number of conjugate-gradient steps, used for float32 on a CPU; other tensors are solved
            exactly.
        from_diagonal: Whether conjugate gradients start from the solution for H's diagonal instead of zero.

    Returns:
        x, shaped like `q`, and H after the last step. Both carry gradients to every argument, those of exact solutions.
    """
    (batch, _, heads, key_dim), one = q.shape, (*q.shape[:3], 1)
    check_shape("k", k, tuple(q.shape))
    check_shape("log_decay", log_decay, one)
    check_shape("rate", rate, one)
    check_shape("ridge", ridge, (heads, key_dim))
    check_shape("state", state, (batch, heads, key_dim, key_dim))
    if runs_on_numba(q, k, log_decay, rate, ridge, state):
        return mesa_solve_cpu(q, k, log_decay, rate, ridge, state, iterations, from_diagonal)
    return mesa_solve_naive(q, k, log_decay, rate, ridge, state)
