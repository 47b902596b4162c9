"""fla's sums and means along time on a CPU."""

from functools import partial

import torch
from torch import Tensor

from lit_retrieval.ops.fla_cpu.attention.parts import by_parts
from lit_retrieval.ops.half_precision import in_float32


def chunk_global_cumsum(
    s: Tensor,
    reverse: bool = False,
    cu_seqlens: Tensor | None = None,
    scale: float | None = None,
    output_dtype: torch.dtype | None = torch.float32,
) -> Tensor:
    """The sum of `s (batch, time, ...)` up to each step, or from it on, times `scale`; None keeps the dtype of s."""

    def add_up(s: Tensor, _: Tensor) -> tuple[Tensor]:
        return (s.flip(1).cumsum(1).flip(1) if reverse else s.cumsum(1),)

    total = by_parts(add_up, (s.to(output_dtype or s.dtype),), (s,), cu_seqlens)[0]
    return total if scale is None else total * scale


def mean_pooling(x: Tensor, chunk_size: int, cu_seqlens: Tensor | None = None) -> Tensor:
    """The means of blocks of `chunk_size` steps of `x (batch, time, heads, dim)`; the last block may be shorter."""
    return by_parts(partial(_means, size=chunk_size), (x,), (x,), cu_seqlens)[0]


@in_float32
def _means(x: Tensor, _: Tensor, size: int) -> tuple[Tensor]:
    whole = x.shape[1] // size
    means = x[:, : whole * size].view(len(x), whole, size, *x.shape[2:]).mean(2)
    rest = x[:, whole * size :]
    return (torch.cat([means, rest.mean(1, keepdim=True)], 1) if rest.shape[1] else means,)
