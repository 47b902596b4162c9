"""Mamba-1's selective scan, and the choice of its implementation."""

from importlib.util import find_spec

from torch import Tensor

from lit_retrieval.ops.arrays import runs_on_numba
from lit_retrieval.ops.half_precision import in_float32
from lit_retrieval.ops.selective_scan.cpu import selective_scan_cpu
from lit_retrieval.ops.selective_scan.naive import selective_scan_naive
from lit_retrieval.ops.shapes import check_shape

__all__ = ["selective_scan", "selective_scan_cpu", "selective_scan_naive"]

_HAS_TRITON = find_spec("triton") is not None  # looked up once: torch.compile can't trace the search


def selective_scan(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mamba-1's selective scan, computed left to right.

    h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t and y_t = C_t h_t  (Gu and Dao 2023, arXiv:2312.00752). The
    skip D x_t is not included.

    Args:
        x: Inputs, `(batch, time, dim)`.
        dt: Step sizes, positive, `(batch, time, dim)`.
        A: Decay rates, negative, `(dim, state_dim)`.
        B, C: Input and output maps, `(batch, time, state_dim)`.
        state: The state h before the first step, `(batch, state_dim, dim)`; zeros if absent.

    Returns:
        The outputs, shaped like `x`, and the state after the last step, which is float32 for half precision, and on a
        GPU always. Both carry gradients to every argument.
    """
    _check_shapes(x, dt, A, B, C, state)
    if x.is_cuda and _HAS_TRITON:
        from lit_retrieval.ops.selective_scan.gpu import selective_scan_gpu

        return selective_scan_gpu(x, dt, A, B, C, state)
    return _run(x, dt, A, B, C, state)


@in_float32
def _run(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    run = selective_scan_cpu if runs_on_numba(x, dt, A, B, C, state) else selective_scan_naive
    return run(x, dt, A, B, C, state)


def _check_shapes(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor | None) -> None:
    (batch, time, dim), state_dim = x.shape, A.shape[1]
    if time < 1:
        raise ValueError(f"x must have at least one step, got shape {tuple(x.shape)}")
    check_shape("dt", dt, (batch, time, dim))
    check_shape("A", A, (dim, state_dim))
    check_shape("B", B, (batch, time, state_dim))
    check_shape("C", C, (batch, time, state_dim))
    check_shape("state", state, (batch, state_dim, dim))
