"""MesaNet's two functions on a CPU, with the arguments of fla's own (arXiv:2506.05233)."""

from typing import Any

from torch import Tensor

from lit_retrieval.ops.fla_cpu.parts import by_parts
from lit_retrieval.ops.fla_cpu.recurrences import unit
from lit_retrieval.ops.half_precision import in_float32
from lit_retrieval.ops.linear_recurrence import linear_recurrence
from lit_retrieval.ops.mesa_solve import mesa_solve


@in_float32
@by_parts
def mesa_net(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    lamb: Tensor,
    h_kk_init: Tensor | None = None,
    h_kv_init: Tensor | None = None,
    output_final_state: bool = False,
    max_CG_iteration: int = 30,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Linear attention of queries that a regularized least-squares problem over all keys so far gives.

    fla's kernels add 1e-5 to the denominators of conjugate gradients, which leaves errors of 1e-3; ours does not.
    """
    if use_qk_l2norm_in_kernel:
        q, k = unit(q), unit(k)
    o, *states = _run(q, k, v, g, beta, lamb, h_kk_init, h_kv_init, iterations=max_CG_iteration)
    return o, *(states if output_final_state else (None, None))


@in_float32
def mesa_net_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    lamb: Tensor,
    beta: Tensor,
    prev_h_kk: Tensor,
    prev_h_kv: Tensor,
    max_CG_iteration: int = 30,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of `mesa_net` on `(batch, heads, dim)`, which begins with the solution for the diagonal."""
    q, k, v, g, beta = (one.unsqueeze(1) for one in (q, k, v, g, beta))
    options = {"iterations": max_CG_iteration, "from_diagonal": True}
    o, h_kk, h_kv = _run(q, k, v, g, beta, lamb, prev_h_kk, prev_h_kv, **options)
    return o.squeeze(1), h_kk, h_kv


def _run(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, lamb: Tensor, h_kk: Tensor | None, h_kv: Tensor | None,
    **options: Any,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    log_decay, rate = g.unsqueeze(-1), beta.unsqueeze(-1)
    x, h_kk = mesa_solve(q, k, log_decay, rate, lamb, h_kk, **options)
    o, h_kv = linear_recurrence(x, k, v, log_decay, state=h_kv, rate=rate)
    return o, h_kk, h_kv
