"""The delta rules of fla beyond those in `recurrences`, on a CPU, with the arguments of fla's functions.

All but that with momentum are `linear_recurrence` with other keys. Arguments that choose between kernels don't change
what is computed. As in fla's kernels, half precision is computed in float32, and the last state is float32.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops.fla_cpu.parts import by_parts
from lit_retrieval.ops.fla_cpu.recurrences import (
    DeltaOptions,
    Options,
    _run,
    _scaled,
    delta_rule,
    kda_gate,
    refuse_packed,
    unit,
)
from lit_retrieval.ops.half_precision import in_float32, widen
from lit_retrieval.ops.linear_rnn import linear_rnn


class _NormedOptions(Options, total=False):
    use_qk_l2norm_in_kernel: bool


class PrecondOptions(_NormedOptions, total=False):
    """Further arguments of fla's preconditioned rules, see `precond_gated_delta_rule`."""

    x: float
    eps: float
    log_atk_scale: Tensor | float | None


_CHUNK = 32  # steps of the rule with momentum; a chunk keeps five matrices (steps, steps) for each head


@in_float32
def gated_delta_product(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor,
    num_householder: int,
    **options: Unpack[DeltaOptions],
) -> tuple[Tensor, Tensor | None]:
    """Several delta rules a token (arXiv:2502.10297): the state decays before the first and is read after the last.

    `k`, `v` and `beta` have `num_householder` steps for each token.
    """
    k, v, beta = (one.reshape(len(q), q.shape[1], num_householder, *one.shape[2:]) for one in (k, v, beta))
    return _rules_of_tokens(q, k, v, g, beta, **options)


@by_parts
def _rules_of_tokens(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor, **options: Unpack[DeltaOptions]
) -> tuple[Tensor, Tensor | None]:
    """The same for `k`, `v` and `beta` with the rules of a token as their third axis."""
    others = k.shape[2] - 1
    q = F.pad(q.unsqueeze(2), (0, 0, 0, 0, others, 0)).flatten(1, 2)
    g = None if g is None else F.pad(g.unsqueeze(2), (0, 0, 0, others)).flatten(1, 2)
    o, state = delta_rule(q, k.flatten(1, 2), v.flatten(1, 2), beta.flatten(1, 2), g, **options)
    return o[:, others :: others + 1], state


@in_float32
@by_parts
def comba(
    q: Tensor, k: Tensor, v: Tensor, p: Tensor | None, g: Tensor, beta: Tensor | None = None,
    use_qk_l2norm_in_kernel: bool = False, **options: Unpack[Options],
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Comba's rule (arXiv:2506.02475): what is corrected is read at `p`, a key of its own, and written at `k`.

    That is before the state decays, as in fla's kernels and `naive_chunk_comba`; `naive_recurrent_comba` reads later.
    """
    p = k if p is None else p
    if use_qk_l2norm_in_kernel:
        q, k, p = unit(q), unit(k), unit(p)
    q, k, p = (_for_each_head(one, v) for one in (q, k, p))
    rate = torch.ones_like(g).unsqueeze(-1) if beta is None else beta.unsqueeze(-1)
    return _run(q, k, v, g.unsqueeze(-1), -rate * p, k, rate, **options)


@in_float32
@by_parts
def gdn2(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    b: Tensor,
    w: Tensor,
    use_qk_l2norm_in_kernel: bool = False,
    use_gate_in_kernel: bool = False,
    A_log: Tensor | None = None,
    dt_bias: Tensor | None = None,
    lower_bound: float | None = None,
    **options: Unpack[Options],
) -> tuple[Tensor, Tensor | None]:
    """Gated DeltaNet 2: the share `b` of each key's value is erased, and the share `w` of each value is written.

    S_t = (I - k_t (b_t k_t)^T) diag(exp(g_t)) S_{t-1} + k_t (w_t v_t)^T.
    """
    if use_gate_in_kernel:
        g = kda_gate(g, A_log, dt_bias, lower_bound)
    if use_qk_l2norm_in_kernel:
        q, k = unit(q), unit(k)
    q, k = _for_each_head(q, v), _for_each_head(k, v)
    return _run(q, k, w * v, g, -b * g.exp() * k, k, **options)


def fused_kda_gate(
    g: Tensor,
    A_log: Tensor | None = None,
    dt_bias: Tensor | None = None,
    lower_bound: float | None = None,
    output_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The log of KDA's decay, see `kda_gate`, in float32 or wider."""
    log_decay = kda_gate(widen(g), widen(A_log), widen(dt_bias), lower_bound)
    return log_decay if g.dtype == torch.float64 else log_decay.to(output_dtype)


@in_float32
def precond_gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g_atk: Tensor,
    g: Tensor,
    beta_atk: Tensor,
    beta: Tensor,
    initial_A_state: Tensor | None = None,
    x: float = 1.5,
    eps: float = 1e-6,
    log_atk_scale: Tensor | float | None = None,
    **options: Unpack[_NormedOptions],
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The gated delta rule with a preconditioner for each key: large keys are written with smaller steps.

    A_t = exp(g_atk) A_{t-1} + beta_atk k^2 is the keys' energy, and the state is written at
    k x^(-r / (1 + |r|)), where r = log(A_t + eps) - log_atk_scale. The decay `g` is one for each head, or for each key.
    """
    squash = partial(_step_size, x=x, eps=eps, center=-0.2 if log_atk_scale is None else log_atk_scale)
    return _preconditioned(q, k, v, g_atk, g, beta_atk, beta, squash, initial_A_state, **options)


@by_parts
def _preconditioned(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g_atk: Tensor,
    g: Tensor,
    beta_atk: Tensor,
    beta: Tensor,
    squash: Callable[[Tensor], Tensor],
    initial_A_state: Tensor | None,
    use_qk_l2norm_in_kernel: bool = True,
    **options: Unpack[Options],
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    if use_qk_l2norm_in_kernel:
        q, k = unit(q), unit(k)
    write_at, energy = _precondition(k, g_atk, beta_atk, initial_A_state, squash)
    q, k, write_at = (_for_each_head(one, v) for one in (q, k, write_at))
    log_decay, rate = g if g.dim() == 4 else g.unsqueeze(-1), beta.unsqueeze(-1)
    read = -rate * log_decay.exp() * k
    o, last = _run(q, write_at, v, log_decay, read, write_at, rate, **options)
    return o, last, None if last is None else energy


@in_float32
def precond_kda(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    g_atk: Tensor,
    beta_atk: Tensor,
    beta: Tensor,
    initial_A_state: Tensor | None = None,
    use_gate_in_kernel: bool = False,
    A_log: Tensor | None = None,
    dt_bias: Tensor | None = None,
    lower_bound: float | None = None,
    **options: Unpack[PrecondOptions],
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The same with KDA's decay for each key, which `kda_gate` computes if asked; else the bound is a promise."""
    if use_gate_in_kernel:
        g = kda_gate(g, A_log, dt_bias, lower_bound)
    return precond_gated_delta_rule(q, k, v, g_atk, g, beta_atk, beta, initial_A_state, **options)


def _precondition(
    k: Tensor, log_decay: Tensor, rate: Tensor, state: Tensor | None, squash: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """The keys at which the state is written, shaped like `k`, and the last energies, `(batch, heads, key_dim)`."""
    decays = log_decay.exp().unsqueeze(-1).expand_as(k).flatten(2)
    before = None if state is None else state.flatten(1)
    energy = linear_rnn((rate.unsqueeze(-1) * k.square()).flatten(2), decays, before).reshape(k.shape)
    return k * squash(energy), energy[:, -1]


def _step_size(energy: Tensor, x: float, eps: float, center: Tensor | float) -> Tensor:
    """A factor from 1 / x for large energies to x for small ones."""
    r = (energy + eps).log() - (center.view(-1, 1) if isinstance(center, Tensor) else center)
    return torch.exp(-math.log(x) * r / (1 + r.abs()))


@in_float32
def momentum_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_alpha: Tensor,
    log_mu: Tensor,
    p: Tensor | None = None,
    beta: Tensor | None = None,
    eta: Tensor | None = None,
    use_qk_l2norm_in_kernel: bool = True,
    use_p_times_alpha: bool = True,
    **options: Unpack[Options],
) -> tuple[Tensor, Tensor | None]:
    """The delta rule with momentum: the corrections are averaged in a second matrix M before the state S takes them.

    M_t = mu M_{t-1} + eta k (p^T S_{t-1} - v)^T and S_t = alpha S_{t-1} - beta M_t, o_t = S_t^T q_t. The states are
    stacked, `(2, batch, heads, key_dim, value_dim)`.
    """
    refuse_packed(options)
    p = k if p is None else p
    if use_qk_l2norm_in_kernel:
        q, k, p = unit(q), unit(k), unit(p)
    if use_p_times_alpha:
        p = p * log_alpha.exp().unsqueeze(-1)
    k = k if eta is None else k * eta.unsqueeze(-1)
    beta = torch.ones_like(log_alpha) if beta is None else beta
    first = options.get("initial_state")
    S, M = v.new_zeros(2, *q.shape[::2], q.shape[3], v.shape[3]) if first is None else first
    o, S, M = _momentum_recurrence(_scaled(q, options.get("scale")), k, v, p, log_alpha, log_mu, beta, S, M)
    return o, torch.stack([S, M]) if options.get("output_final_state") else None


def _momentum_recurrence(
    q: Tensor, k: Tensor, v: Tensor, p: Tensor, log_alpha: Tensor, log_mu: Tensor, beta: Tensor, S: Tensor, M: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The recurrence in chunks of steps: the outputs and both last states.

    What step j writes into M reaches S at step t with weight C_tj = sum over l of exp(A_t - A_l) beta_l exp(U_l - U_j)
    for j <= l <= t, where A and U sum the logs of alpha and mu. What a step reads depends on earlier steps, so it
    solves a triangular system.
    """
    time = q.shape[1]
    # (batch, heads, chunks, steps, dim); padding keeps both states: nothing decays, and keys and beta are 0.
    q, k, v, p = (_in_chunks(one) for one in (q, k, v, p))
    log_alpha, log_mu, beta = (_in_chunks(one.unsqueeze(-1)).squeeze(-1) for one in (log_alpha, log_mu, beta))
    of_alpha, of_mu = _decays_between(log_alpha), _decays_between(log_mu)
    weights = of_alpha @ (beta.unsqueeze(-1) * of_mu)
    alpha, mu = log_alpha.cumsum(-1).exp(), log_mu.cumsum(-1).exp()
    from_M = (of_alpha @ (beta * mu).unsqueeze(-1)).squeeze(-1)  # the weight of the first M in S
    before = F.pad(weights[..., :-1, :], (0, 0, 1, 0)) * (p @ k.mT)
    known = torch.cat([_shifted(alpha, 1.0) * p, _shifted(from_M, 0.0) * p, v], -1)
    read_S, read_M, read_v = torch.linalg.solve_triangular(
        torch.eye(before.shape[-1], dtype=q.dtype, device=q.device) + before, known, upper=False, unitriangular=True
    ).split([p.shape[-1], p.shape[-1], v.shape[-1]], -1)
    seen, outputs = weights * (q @ k.mT), []
    to_S, to_M = weights[..., -1, :, None] * k, of_mu[..., -1, :, None] * k
    for n in range(q.shape[2]):
        w = read_S[:, :, n] @ S - read_M[:, :, n] @ M - read_v[:, :, n]
        q_n, alpha_n, from_M_n = q[:, :, n], alpha[:, :, n, :, None], from_M[:, :, n, :, None]
        outputs.append((alpha_n * q_n) @ S - (from_M_n * q_n) @ M - seen[:, :, n] @ w)
        S = alpha_n[:, :, -1:] * S - from_M_n[:, :, -1:] * M - to_S[:, :, n].mT @ w
        M = mu[:, :, n, -1, None, None] * M + to_M[:, :, n].mT @ w
    return torch.cat(outputs, 2)[:, :, :time].transpose(1, 2), S, M


def _in_chunks(x: Tensor) -> Tensor:
    """`(batch, time, heads, dim)` as `(batch, heads, chunks, steps, dim)`, filled up with zeros."""
    steps = min(_CHUNK, x.shape[1])
    padded = F.pad(x.transpose(1, 2), (0, 0, 0, -x.shape[1] % steps))
    return padded.reshape(*padded.shape[:2], -1, steps, padded.shape[3])


def _decays_between(log_decay: Tensor) -> Tensor:
    """The product of the decays after step j up to step i, `(..., i, j)`; 0 where j is later than i."""
    sums = log_decay.cumsum(-1)
    is_later = torch.ones(2 * sums.shape[-1:], dtype=torch.bool, device=sums.device).triu(1)
    return (sums.unsqueeze(-1) - sums.unsqueeze(-2)).masked_fill(is_later, -torch.inf).exp()


def _shifted(x: Tensor, first: float) -> Tensor:
    """The steps of `x (..., steps)` one later, after `first`, as a column."""
    return F.pad(x[..., :-1], (1, 0), value=first).unsqueeze(-1)


def _for_each_head(x: Tensor, v: Tensor) -> Tensor:
    """Queries or keys, `(batch, time, groups, key_dim)`, repeated for each head of `v` that shares them."""
    sharing = v.shape[2] // x.shape[2]
    return x if sharing == 1 else x.repeat_interleave(sharing, 2)
