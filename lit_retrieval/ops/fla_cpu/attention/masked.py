"""Attention under a mask by a function of positions, on a CPU, where PyTorch's FlexAttention has no backward."""

from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.flex_attention import create_mask


def flex_attention(q: Tensor, k: Tensor, v: Tensor, block_mask: Any = None) -> Tensor:
    """Softmax attention of q, k and v, `(batch, heads, time, dim)`, to the keys that a `BlockMask` lets a query see."""
    mask = None
    if block_mask is not None:
        mask = create_mask(block_mask.mask_mod, None, None, q.shape[2], k.shape[2], device="cpu")
    return F.scaled_dot_product_attention(q, k, v, mask)
