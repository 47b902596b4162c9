"""Root-mean-square normalization, and the choice of its implementation."""

from torch import Tensor

from lit_retrieval.ops.arrays import runs_on_numba
from lit_retrieval.ops.rms_norm.cpu import rms_norm_cpu
from lit_retrieval.ops.rms_norm.naive import rms_norm_naive
from lit_retrieval.ops.shapes import check_shape

__all__ = ["rms_norm", "rms_norm_cpu", "rms_norm_naive"]


def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-5) -> Tensor:
    """Root-mean-square normalization of the last axis.

    y = weight x / sqrt(mean(x^2) + eps)  (Zhang and Sennrich 2019, arXiv:1910.07467); eps keeps a vector of zeros
    finite. `x` and the result are `(..., dim)`, `weight` is `(dim,)`.
    """
    check_shape("weight", weight, (x.shape[-1],))
    return rms_norm_cpu(x, weight, eps) if runs_on_numba(x, weight) else rms_norm_naive(x, weight, eps)
