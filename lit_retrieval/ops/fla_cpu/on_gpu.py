"""Replacements of some of fla's functions on a GPU, with their conditions and reasons: `INSTEAD`.

fla's functions are replaced if their kernels refuse the tensors, if a package is missing, or if their values or
gradients are wrong. Most replacements are our CPU functions, which use PyTorch on a GPU. docs/layers.md prints the
reasons.
"""

import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_retrieval.ops.fla_cpu.mamba import mamba2_forward
from lit_retrieval.ops.fla_cpu.mesa_net import mesa_net_by_fla, mesa_net_step_by_fla
from lit_retrieval.ops.half_precision import product_dtype

_LEAST = 16  # rows and columns of a matrix that Triton multiplies


class Instead(NamedTuple):
    """The replacement of a function of fla's on a GPU.

    Args:
        why: The reason, a sentence without its full stop, which docs/layers.md prints.
        when: Decides from a call's arguments whether to replace the function.
        function: The replacement, with fla's arguments; our CPU function if absent.
    """

    why: str
    when: Callable[..., bool]
    function: Callable[..., Any] | None = None


def always(*args: Any, **kwargs: Any) -> bool:
    """True."""
    return True


def is_refused(*args: Any, **kwargs: Any) -> bool:
    """Whether fla refuses the backward of a function that need not have a gate."""
    return refuses_gates() and has_gate(*args, **kwargs)


def has_gate(*args: Any, **kwargs: Any) -> bool:
    """Whether a call has a gate, as its fourth argument or named g."""
    return len(args) > 3 or kwargs.get("g") is not None


def refuses_gates(*args: Any, **kwargs: Any) -> bool:
    """Whether fla refuses the backward of its kernels with a gate for each head.

    On Hopper, Triton 3.4.0 to 3.7.0 compile one of these kernels wrongly.
    """
    return _compiles_gates_wrongly()


@cache
def _compiles_gates_wrongly() -> bool:
    from fla.utils import IS_NVIDIA_HOPPER, TRITON_ABOVE_3_4_0, TRITON_ABOVE_3_7_1

    return bool(IS_NVIDIA_HOPPER and TRITON_ABOVE_3_4_0 and not TRITON_ABOVE_3_7_1)


def is_float32(*args: Any, **kwargs: Any) -> bool:
    """Whether a function's first tensor is not of half precision."""
    return _first(*args, **kwargs).dtype not in (torch.bfloat16, torch.float16)


def computes_in_float32(*args: Any, **kwargs: Any) -> bool:
    """Whether a layer's products are not in half precision; the first argument is the layer, then its inputs."""
    return product_dtype(_first(*args, **kwargs)) not in (torch.bfloat16, torch.float16)


def lacks_flash_attention(*args: Any, **kwargs: Any) -> bool:
    """Whether flash-attn is not installed, or does not take tensors of this precision."""
    return not _has_flash_attention() or is_float32(*args, **kwargs)


def wants_gradients(*args: Any, **kwargs: Any) -> bool:
    """Whether the tensors need gradients or are not half precision, which the kernel does not support."""
    tensors = (one for one in (*args, *kwargs.values()) if isinstance(one, Tensor))
    return is_float32(*args, **kwargs) or (torch.is_grad_enabled() and any(one.requires_grad for one in tensors))


def is_too_small(
    q: Tensor, k: Tensor, v: Tensor, *args: Any, block_size: int = 64, block_counts: Any = 16, **kwargs: Any
) -> bool:
    """Whether fla's kernels of native sparse attention can't tile the heads or the blocks."""
    group = q.shape[2] // k.shape[2]
    chosen = 1 << (block_counts - 1).bit_length() if isinstance(block_counts, int) else 0
    is_power = group & (group - 1) == 0
    return min(q.shape[-1], v.shape[-1], block_size, group) < _LEAST or not is_power or block_size < 2 * chosen


def lacks_mamba3(*args: Any, **kwargs: Any) -> bool:
    """Whether mamba-ssm, with its kernels of Mamba-3, is not installed."""
    return not sys.modules["fla.layers.mamba3"].is_fast_path_available


@cache
def _has_flash_attention() -> bool:
    return find_spec("flash_attn") is not None


def _first(*args: Any, **kwargs: Any) -> Tensor:
    return next(one for one in (*args, *kwargs.values()) if isinstance(one, Tensor))


def chunk_gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    use_gate_in_kernel: bool = False,
    A_log: Tensor | None = None,
    dt_bias: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """Fla's function of that name, through `chunk_kda`; `g` is `(batch, time, heads)`."""
    from fla.ops.kda import chunk_kda

    if use_gate_in_kernel:
        assert A_log is not None
        g = -A_log.float().exp() * F.softplus(g.float() if dt_bias is None else g.float() + dt_bias)
    found: tuple[Tensor, Tensor | None] = chunk_kda(q, k, v, _for_each_key(g, k), beta, **options)
    return found


def chunk_simple_gla(q: Tensor, k: Tensor, v: Tensor, g: Tensor, **options: Any) -> tuple[Tensor, Tensor | None]:
    """Fla's function of that name, through `chunk_gla`; `g` is `(batch, time, heads)`."""
    from fla.ops.gla import chunk_gla

    found: tuple[Tensor, Tensor | None] = chunk_gla(q, k, v, _for_each_key(g, k), **options)
    return found


def _for_each_key(g: Tensor, k: Tensor) -> Tensor:
    return g.unsqueeze(-1).expand(*g.shape, k.shape[-1]).contiguous()


_GATES = "fla refuses the backward of a gate for each head, which Triton compiles wrongly"
_NO_FLOAT32 = "fla's kernel takes half precision only"
_NO_FLASH = "flash-attn takes half precision only"
_WALL = "fla's kernels give NaN gradients at lengths that no block divides, and lose channels that forget quickly"
_MESA = "fla solves in float16, and not at all for gradients whose squares are near its 1e-5"
_PARALLAX = "fla's kernels take half precision only, and those with a cache have no backward"

INSTEAD: dict[str, Instead] = {
    "fla.layers.log_linear_mamba2.LogLinearMamba2.forward": Instead(
        "fla's kernel takes states of 64 only, and its cache can't be cut to some rows", always
    ),
    "fla.layers.mamba2.Mamba2.torch_forward": Instead(
        "fla's PyTorch code keeps numbers for all pairs of tokens in a chunk", always, mamba2_forward
    ),
    "fla.layers.mamba3.Mamba3.forward": Instead("fla's kernels are those of that package", lacks_mamba3),
    "fla.layers.stickbreaking_attn.StickBreakingAttention.forward": Instead(_NO_FLOAT32, computes_in_float32),
    "fla.layers.wall_attn.WallAttention._decode_incremental": Instead(_WALL, always),
    "fla.layers.wall_attn.WallAttention._decode_rebuild": Instead(_WALL, always),
    "fla.ops.comba.chunk_comba": Instead(_GATES, refuses_gates),
    "fla.ops.delta_rule.chunk_delta_rule": Instead(_NO_FLOAT32, is_float32),
    "fla.ops.deltaformer.deltaformer_attn": Instead(_NO_FLASH, lacks_flash_attention),
    "fla.ops.gated_delta_product.chunk_gated_delta_product": Instead(_NO_FLOAT32, is_float32),
    "fla.ops.gated_delta_rule.chunk_gated_delta_rule": Instead(_GATES, is_refused, chunk_gated_delta_rule),
    "fla.ops.mesa_net.chunk_mesa_net": Instead(_MESA, always, mesa_net_by_fla),
    "fla.ops.mesa_net.mesa_net_decoding_one_step": Instead(_MESA, always, mesa_net_step_by_fla),
    "fla.ops.moba.parallel_moba": Instead(_NO_FLASH, lacks_flash_attention),
    "fla.ops.momentum_delta_rule.chunk_momentum_delta_rule": Instead(_NO_FLOAT32, is_float32),
    "fla.ops.nsa.parallel.parallel_nsa": Instead(
        "fla's kernels need heads, groups of heads and blocks of 16 or more", is_too_small
    ),
    "fla.ops.parallax.parallel_parallax": Instead(_PARALLAX, is_float32),
    "fla.ops.parallax.decode.parallax_decode": Instead(_PARALLAX, wants_gradients),
    "fla.ops.parallax.decode.parallax_decode_one_step": Instead(_PARALLAX, wants_gradients),
    "fla.ops.precond_gated_delta_rule.chunk_precond_gated_delta_rule": Instead(_GATES, refuses_gates),
    "fla.ops.simple_gla.chunk_simple_gla": Instead(_GATES, is_refused, chunk_simple_gla),
    "fla.ops.wall_attn.parallel_wall_attn": Instead(_WALL, always),
}
"""Functions of fla's, by where the table of `table.py` has them."""

FLASH_ATTENTION = Instead(_NO_FLASH, lacks_flash_attention)
"""The functions of the package flash-attn that fla's layers call."""
