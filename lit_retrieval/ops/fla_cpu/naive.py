"""Recurrences of fla step by step in PyTorch, where no fast kernel of ours fits: the rows of the kind `naive`."""

from typing import Unpack

import torch
from torch import Tensor

from lit_retrieval.ops.fla_cpu.parts import by_parts
from lit_retrieval.ops.fla_cpu.recurrences import Options, _scaled, unit
from lit_retrieval.ops.half_precision import in_float32


@in_float32
@by_parts
def gated_oja_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gv: Tensor | None = None,
    beta: Tensor | None = None,
    use_q_l2norm: bool = False,
    use_k_l2norm: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    **options: Unpack[Options],
) -> tuple[Tensor, Tensor | None]:
    """Oja's rule with a decay of each value: the state's key at v moves towards k by a fraction beta.

    S_t = S + beta (k - S v) v^T with S = S_{t-1} diag(exp(gv)), and o_t = S_t^T q.
    """
    time, sharing = q.shape[1], v.shape[2] // q.shape[2]
    q = unit(q) if use_q_l2norm or use_qk_l2norm_in_kernel else q
    k = unit(k) if use_k_l2norm or use_qk_l2norm_in_kernel else k
    q, k = (one.repeat_interleave(sharing, 2) for one in (_scaled(q, options.get("scale")), k))
    beta = torch.ones_like(v[..., 0]) if beta is None else beta
    first = options.get("initial_state")
    state = v.new_zeros(len(v), v.shape[2], q.shape[3], v.shape[3]) if first is None else first
    outputs = []
    for t in range(time):
        state = state if gv is None else state * gv[:, t].exp().unsqueeze(2)
        missing = k[:, t].unsqueeze(3) - state @ v[:, t].unsqueeze(3)
        state = state + beta[:, t, :, None, None] * missing * v[:, t].unsqueeze(2)
        outputs.append((q[:, t].unsqueeze(2) @ state).squeeze(2))
    return torch.stack(outputs, 1), state if options.get("output_final_state") else None
