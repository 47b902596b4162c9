"""fla's sums, means and packed rows on a CPU."""

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


def chunk_local_cumsum(
    g: Tensor,
    chunk_size: int,
    reverse: bool = False,
    scale: float | None = None,
    cu_seqlens: Tensor | None = None,
    output_dtype: torch.dtype | None = torch.float32,
) -> Tensor:
    """As `chunk_global_cumsum`, but the sum restarts every `chunk_size` steps of a sequence."""

    def add_up(g: Tensor, _: Tensor) -> tuple[Tensor]:
        chunks = [chunk_global_cumsum(chunk, reverse, None, scale, None) for chunk in torch.split(g, chunk_size, 1)]
        return (torch.cat(chunks, 1),)

    return by_parts(add_up, (g.to(output_dtype or g.dtype),), (g,), cu_seqlens)[0]


def softmax_fwd(x: Tensor, dtype: torch.dtype | None = torch.float32) -> Tensor:
    """The softmax over the last dimension."""
    return x.float().softmax(-1).to(dtype or x.dtype)


def softmax_bwd(p: Tensor, dp: Tensor, dtype: torch.dtype | None = torch.float32) -> Tensor:
    """The gradient of `softmax_fwd` for its input, from its outputs."""
    p, dp = p.float(), dp.float()
    return (p * (dp - (p * dp).sum(-1, keepdim=True))).to(dtype or p.dtype)


def pack_sequence_fwdbwd(x: Tensor, cu_seqlens: Tensor, padding_side: str) -> Tensor:
    """The tokens of padded rows `(sequences, time, ...)` one after another, without the padding."""
    return x[_is_token(cu_seqlens, x.shape[1], padding_side)]


def unpack_sequence_fwdbwd(
    x: Tensor, cu_seqlens: Tensor, padding_side: str, desired_shape: torch.Size | None
) -> Tensor:
    """Padded rows again, with zeros; as long as the longest sequence unless a shape is given."""
    longest = int(cu_seqlens.diff().max())
    y = x.new_zeros(desired_shape or (len(cu_seqlens) - 1, longest, *x.shape[1:]))
    y[_is_token(cu_seqlens, y.shape[1], padding_side)] = x
    return y


def _is_token(cu_seqlens: Tensor, time: int, padding_side: str) -> Tensor:
    """Whether each place of padded rows, `(sequences, time)`, is a token."""
    places, lengths = torch.arange(time), cu_seqlens.diff().unsqueeze(1)
    return places >= time - lengths if padding_side == "left" else places < lengths


def mean_pooling(x: Tensor, chunk_size: int, cu_seqlens: Tensor | None = None) -> Tensor:
    """The means of blocks of `chunk_size` steps of `x (batch, time, heads, dim)`; the last block may be shorter."""
    return by_parts(partial(_means, size=chunk_size), (x,), (x,), cu_seqlens)[0]


@in_float32
def _means(x: Tensor, _: Tensor, size: int) -> tuple[Tensor]:
    whole = x.shape[1] // size
    means = x[:, : whole * size].view(len(x), whole, size, *x.shape[2:]).mean(2)
    rest = x[:, whole * size :]
    return (torch.cat([means, rest.mean(1, keepdim=True)], 1) if rest.shape[1] else means,)
