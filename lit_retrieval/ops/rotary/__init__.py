"""Rotary position embedding, and the choice of its implementation."""

from functools import cache

import torch
from torch import Tensor

from lit_retrieval.ops.arrays import runs_on_numba
from lit_retrieval.ops.lanes import WIDTH
from lit_retrieval.ops.rotary.cpu import rotate_cpu
from lit_retrieval.ops.rotary.naive import rotate_naive

__all__ = ["rotate", "rotate_cpu", "rotate_naive"]


def rotate(x: Tensor, start: int | Tensor, base: float, capacity: int = 0) -> Tensor:
    """Rotary position embedding: rotate each pair of elements by an angle that grows with the token's position.

    (x_{2i}, x_{2i+1}) at position p is rotated by p base^(-2i / head_dim)  (Su et al. 2021, arXiv:2104.09864), in
    float32 where `x` has half precision.

    Args:
        x: `(batch, time, heads, head_dim)`, with an even `head_dim`.
        start: The first token's position. For a single token it may be a tensor `(1,)`, so that the host need not wait.
        base: The rotary embedding's base.
        capacity: A power of two above the position, needed if `start` is a tensor.

    Returns:
        The rotated vectors, shaped like `x`.
    """
    head_dim, dtype = x.shape[3], torch.float64 if x.dtype == torch.float64 else torch.float32
    run = rotate_cpu if head_dim % WIDTH == 0 and runs_on_numba(x) else rotate_naive
    if isinstance(start, Tensor):
        return run(x, _table(capacity, head_dim, base, x.device, dtype).index_select(0, start), 0)
    stop = start + x.shape[1]
    if torch.compiler.is_compiling():  # the size of a table would be compiled in
        return rotate_naive(x, _turns(start, stop, head_dim, base, x.device, dtype), 0)
    turns = _table(1 << (stop - 1).bit_length(), head_dim, base, x.device, dtype)
    return run(x, turns, start)


@cache  # unbounded, because a CUDA graph reads its table again
@torch.inference_mode(False)  # so that a table made while decoding can be used in training
def _table(capacity: int, head_dim: int, base: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The rotations at positions 0 to `capacity` - 1, a power of two, so that decoding needs few tables."""
    return _turns(0, capacity, head_dim, base, device, dtype)


def _turns(start: int, stop: int, head_dim: int, base: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What `rotate_naive` needs at positions `start` to `stop` - 1, `(stop - start, 2, head_dim)`."""
    frequencies = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64, device=device) / head_dim)
    angles = torch.outer(torch.arange(start, stop, dtype=torch.float64, device=device), frequencies)
    cos, sin = angles.cos(), angles.sin()
    pairs = torch.stack([torch.stack([cos, cos], -1), torch.stack([-sin, sin], -1)], 1)
    return pairs.flatten(-2).to(dtype)
