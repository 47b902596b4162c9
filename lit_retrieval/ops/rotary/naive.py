"""Rotary positions in plain PyTorch: the reference, for any device and dtype."""

import torch
from torch import Tensor


def rotate_naive(x: Tensor, turns: Tensor, start: int) -> Tensor:
    """Rotate each pair of neighbors in PyTorch, in the dtype of `turns`.

    Args:
        x: `(batch, time, heads, head_dim)`.
        turns: At each position the cosine of each element's angle, and the sine, negative for the first element of a
            pair, `(positions, 2, head_dim)`.
        start: The first token's position.

    Returns:
        The rotated vectors, with the shape and the dtype of `x`.
    """
    cos, sin = turns[start : start + x.shape[1], :, None].unbind(1)
    wide = x.to(turns.dtype)
    swapped = wide.view(*x.shape[:3], x.shape[3] // 2, 2).flip(-1).flatten(-2)
    return torch.addcmul(wide * cos, swapped, sin).to(x.dtype)
