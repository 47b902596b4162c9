"""HGRN's and RWKV-6's recurrences on a CPU, with the arguments of fla's functions.

As in fla's kernels, half precision is computed in float32, and the last state is float32.
"""

from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops.fla_cpu.parts import by_parts
from lit_retrieval.ops.fla_cpu.recurrences import _scaled
from lit_retrieval.ops.half_precision import in_float32
from lit_retrieval.ops.linear_recurrence import linear_recurrence
from lit_retrieval.ops.linear_rnn import linear_rnn


@in_float32
@by_parts
def hgrn(
    x: Tensor,
    g: Tensor,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """HGRN (arXiv:2311.04823): h_t = exp(g_t) h_{t-1} + x_t for x and g `(batch, time, dim)`."""
    h = linear_rnn(x, g.exp(), initial_state)
    return h, h[:, -1] if output_final_state else None


@in_float32
@by_parts
def rwkv6(
    r: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor,
    u: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """RWKV-6 (arXiv:2404.05892): o_t = (S_{t-1} + diag(u) k_t v_t^T)^T r_t, S_t = diag(exp(w_t)) S_{t-1} + k_t v_t^T.

    A step reads the state before it, so it is given the key, value and decay of the step before.
    """
    r = _scaled(r, scale)
    k_before, v_before, w_before = (F.pad(one[:, :-1], (0, 0, 0, 0, 1, 0)) for one in (k, v, w))
    o, state = linear_recurrence(r, k_before, v_before, w_before, state=initial_state)
    o = o + (r * u * k).sum(-1, keepdim=True) * v
    if not output_final_state:
        return o, None
    return o, w[:, -1].exp().unsqueeze(-1) * state + k[:, -1].unsqueeze(-1) * v[:, -1].unsqueeze(-2)
