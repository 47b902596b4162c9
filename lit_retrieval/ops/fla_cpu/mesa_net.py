"""MesaNet's two functions on a CPU, with the arguments of fla's own (arXiv:2506.05233), and their forms for a GPU.

fla's own round queries, keys and solutions to float16, and add 1e-5 to the denominators of conjugate gradients. That
leaves errors of 1e-3 forward, and more backward: there the right sides are gradients, often so small that 1e-5 stops
them from being solved. Our forms for a GPU call the same kernels in float32, on right sides that are scaled up.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from lit_retrieval.ops.fla_cpu.mamba import recur_by_fla
from lit_retrieval.ops.fla_cpu.parts import by_parts
from lit_retrieval.ops.fla_cpu.recurrences import unit
from lit_retrieval.ops.half_precision import in_float32
from lit_retrieval.ops.linear_recurrence import linear_recurrence
from lit_retrieval.ops.mesa_solve import mesa_solve
from lit_retrieval.ops.mesa_solve.gradients import solve_with_gradients

_CHUNK = 64  # tokens, in fla's kernels
_SCALE = 20  # right sides are scaled to numbers of about 2^20


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
    """Linear attention of queries that a regularized least-squares problem over all keys so far gives."""
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


@in_float32
@by_parts
def mesa_net_by_fla(
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
    """`mesa_net` on a GPU, by kernels of fla."""
    if use_qk_l2norm_in_kernel:
        q, k = unit(q), unit(k)
    log_decay, rate, solve = g.unsqueeze(-1), beta.unsqueeze(-1), partial(_solve_by_fla, max_CG_iteration)
    x, h_kk = solve_with_gradients(solve, recur_by_fla, q, k, log_decay, rate, lamb, h_kk_init)
    o, h_kv = recur_by_fla(x, k, v, log_decay, state=h_kv_init, rate=rate)
    return o, *((h_kk, h_kv) if output_final_state else (None, None))


def mesa_net_step_by_fla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    lamb: Tensor,
    beta: Tensor,
    prev_h_kk: Tensor,
    prev_h_kv: Tensor,
    max_CG_iteration: int = 30,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """`mesa_net_step` on a GPU, by kernels of fla; conjugate gradients begin with zero."""
    q, k, v, g, beta = (one.unsqueeze(1) for one in (q, k, v, g, beta))
    o, h_kk, h_kv = mesa_net_by_fla(q, k, v, g, beta, lamb, prev_h_kk, prev_h_kv, True, max_CG_iteration)
    return o.squeeze(1), h_kk, h_kv


def _solve_by_fla(
    iterations: int, q: Tensor, k: Tensor, log_decay: Tensor, rate: Tensor, ridge: Tensor, state: Tensor
) -> Tensor:
    """The solutions for right sides `q` by fla's kernel, without gradients."""
    from fla.ops.mesa_net.chunk_cg_solver_bwd import chunk_mesa_cg_bwd
    from fla.ops.mesa_net.chunk_h_fwd import chunk_mesa_fwd_h
    from fla.ops.utils import chunk_local_cumsum
    from fla.ops.utils.constant import RCP_LN2

    q, k, beta, state = (one.contiguous() for one in (q, k, rate.squeeze(-1), state))
    g = chunk_local_cumsum(log_decay.squeeze(-1).contiguous(), chunk_size=_CHUNK, scale=RCP_LN2)
    h, *_ = chunk_mesa_fwd_h(
        k=k, v=k, g=g, beta=beta, h_init=state, h_kv_init=state, output_final_state=False, chunk_size=_CHUNK,
        states_in_fp32=True,
    )  # fmt: skip
    _, exponent = torch.frexp(q.abs().amax(-1, keepdim=True))
    scale = torch.exp2((_SCALE - exponent).clamp(max=126).float())
    x: Tensor = chunk_mesa_cg_bwd(
        dq=q * scale, k=k, h=h, g_local_cumsum=g, beta=beta, lamb=ridge.contiguous(), chunk_size=_CHUNK,
        max_CG_iteration=iterations,
    )  # fmt: skip
    return x / scale
