"""Stand-ins for the functions of the package flash-attn that fla's layers call, for CPU tensors: causal attention.

As in flash-attn, the last query belongs to the last key; a window is the number of keys before a query's own that it
sees, and the number after it, with -1 for no limit.
"""

from typing import Any

from torch import Tensor

from lit_retrieval.errors import UserError
from lit_retrieval.ops.fla_cpu.attention.parts import by_parts
from lit_retrieval.ops.fla_cpu.attention.softmax import softmax_attention

_UNUSED = {"softcap": 0.0, "alibi_slopes": None, "return_attn_probs": False, "block_table": None}


def flash_attn_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    **options: Any,
) -> Tensor:
    """Causal softmax attention of q, k and v, all `(batch, time, heads, dim)`.

    Raises:
        UserError: For dropout, attention that is not causal, or an option that has no form on a CPU.
    """
    window = _window(dropout_p, causal, window_size, options)
    return softmax_attention(q, k, v, scale=softmax_scale, window=window)[0]


def flash_attn_varlen_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    **options: Any,
) -> Tensor:
    """The same for several sequences packed into one row, `(time, heads, dim)`; their longest lengths are ignored."""
    window = _window(dropout_p, causal, window_size, options)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor]:
        return softmax_attention(q, k, v, scale=softmax_scale, window=window)

    rows = (q.unsqueeze(0),), (k.unsqueeze(0), v.unsqueeze(0))
    return by_parts(attend, *rows, (cu_seqlens_q, cu_seqlens_k))[0].squeeze(0)


def _window(dropout_p: float, causal: bool, window_size: tuple[int, int], options: dict[str, Any]) -> int | None:
    """How many keys a query sees, its own included, or None for all; refuses what has no form on a CPU."""
    options = {name: value for name, value in options.items() if name != "deterministic"}  # it always is
    if dropout_p or not causal or window_size[1] > 0:
        raise UserError(
            "attention on a CPU must be causal and without dropout, got "
            f"causal={causal}, window_size={window_size}, dropout_p={dropout_p}"
        )
    for name, value in options.items():
        if name not in _UNUSED or value != _UNUSED[name]:
            raise UserError(f"attention on a CPU has no {name}={value}; leave it out")
    return None if window_size[0] < 0 else window_size[0] + 1
