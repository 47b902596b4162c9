"""What runs on a GPU instead of some of fla's functions.

On Hopper GPUs with Triton 3.4.0 to 3.7.0, which compiles a kernel of their backward wrongly, fla refuses its gated
layers. The same numbers come from kernels with a decay for each key, here the same one for all keys of a head.

Without the package mamba-ssm, fla's Mamba-2 keeps numbers for all pairs of tokens in a chunk; ours calls fla's kernels.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from lit_retrieval.ops.fla_cpu.layers import mamba2_forward


def is_refused(*args: Any, **kwargs: Any) -> bool:
    """Whether fla refuses the backward of one of the two functions below: it has a gate, the fourth argument."""
    return _refuses_gates() and (len(args) > 3 or kwargs.get("g") is not None)


@cache
def _refuses_gates() -> bool:
    from fla.utils import IS_NVIDIA_HOPPER, TRITON_ABOVE_3_4_0, TRITON_ABOVE_3_7_1

    return bool(IS_NVIDIA_HOPPER and TRITON_ABOVE_3_4_0 and not TRITON_ABOVE_3_7_1)


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


def always(*args: Any, **kwargs: Any) -> bool:
    """True."""
    return True


INSTEAD: dict[str, tuple[Callable[..., Any], Callable[..., bool]]] = {
    "fla.layers.mamba2.Mamba2.torch_forward": (mamba2_forward, always),
    "fla.ops.gated_delta_rule.chunk_gated_delta_rule": (chunk_gated_delta_rule, is_refused),
    "fla.ops.simple_gla.chunk_simple_gla": (chunk_simple_gla, is_refused),
}
"""fla's functions, what runs instead of them on a GPU, and when: a function of their arguments."""


def _for_each_key(g: Tensor, k: Tensor) -> Tensor:
    return g.unsqueeze(-1).expand(*g.shape, k.shape[-1]).contiguous()
