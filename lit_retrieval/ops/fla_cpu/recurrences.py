"""The recurrences that fla's layers call, on a CPU, with the arguments of fla's functions.

They differ in how queries, keys and gates are prepared; `linear_recurrence` is behind all of them. With `state_v_first`
the state is `(batch, heads, value_dim, key_dim)`, ours transposed. As in fla's kernels, half precision is computed in
float32, and the last state is float32.
"""

from typing import TypedDict, Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops.fla_cpu.layers import refuse_packed
from lit_retrieval.ops.half_precision import in_float32
from lit_retrieval.ops.linear_recurrence import linear_recurrence
from lit_retrieval.ops.rms_norm import rms_norm

_EPS = 1e-6  # what fla's kernels add to the square of a vector's length


class Options(TypedDict, total=False):
    """Arguments that all of fla's recurrences have."""

    scale: float | None
    initial_state: Tensor | None
    output_final_state: bool
    state_v_first: bool
    cu_seqlens: Tensor | None


class DeltaOptions(Options, total=False):
    """Further arguments of fla's delta rules, which say what is done to queries, keys and beta first."""

    use_qk_l2norm_in_kernel: bool
    use_beta_sigmoid_in_kernel: bool
    allow_neg_eigval: bool


@in_float32
def linear_attention(
    q: Tensor, k: Tensor, v: Tensor, normalize: bool = False, **options: Unpack[Options]
) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor] | None]:
    """Linear attention (arXiv:2006.16236); `normalize` divides by the sum of the weights, and keeps the sum of keys."""
    first: Tensor | tuple[Tensor, Tensor] | None = options.get("initial_state")
    options["initial_state"], key_sum = first if isinstance(first, tuple) else (first, None)
    o, last = _run(q, k, v, **options)
    if not normalize:
        return o, last
    key_sums = k.cumsum(1) if key_sum is None else k.cumsum(1) + key_sum
    o = o / ((_scaled(q, options.get("scale")) * key_sums).sum(-1, keepdim=True) + 1e-10)
    return o, None if last is None else (last, key_sums[:, -1:])


@in_float32
def gla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    gk: Tensor | None = None,
    g_gamma: Tensor | None = None,
    **options: Unpack[Options],
) -> tuple[Tensor, Tensor | None]:
    """Gated linear attention (arXiv:2312.06635): `g` or `gk` is the log of the decay, of each key or of each head.

    `g_gamma`, `(heads,)`, is that of each head at all steps, as in RetNet (arXiv:2307.08621).
    """
    log_decay = g if gk is None else gk
    if g_gamma is not None:
        log_decay = g_gamma.to(q.dtype).expand(q.shape[:3])
    if log_decay is not None and log_decay.dim() == 3:
        log_decay = log_decay.unsqueeze(-1)
    return _run(q, k, v, log_decay, **options)


@in_float32
def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None = None,
    use_qk_l2norm_in_kernel: bool = False,
    use_beta_sigmoid_in_kernel: bool = False,
    allow_neg_eigval: bool = False,
    **options: Unpack[Options],
) -> tuple[Tensor, Tensor | None]:
    """DeltaNet's rule (arXiv:2406.06484): the state's value at k moves towards v by a fraction beta.

    `beta` is `(batch, time, heads)`, and more heads of values than of keys are allowed. The log of a decay, `g`, comes
    before the correction.
    """
    if use_beta_sigmoid_in_kernel:
        beta = beta.sigmoid() * (2 if allow_neg_eigval else 1)
    if use_qk_l2norm_in_kernel:
        q, k = unit(q), unit(k)
    if v.shape[2] != q.shape[2]:
        q, k = (tensor.repeat_interleave(v.shape[2] // q.shape[2], 2) for tensor in (q, k))
    rate = beta.unsqueeze(-1)
    read = k * (-rate if g is None else -rate * g.exp())
    return _run(q, k, v, g, read, k, rate, **options)


@in_float32
def gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    use_gate_in_kernel: bool = False,
    A_log: Tensor | None = None,
    dt_bias: Tensor | None = None,
    **options: Unpack[DeltaOptions],
) -> tuple[Tensor, Tensor | None]:
    """The gated delta rule (arXiv:2412.06464): before it is corrected, each head's state decays by one factor."""
    if use_gate_in_kernel:
        assert A_log is not None
        g = -A_log.exp() * F.softplus(g if dt_bias is None else g + dt_bias)
    return delta_rule(q, k, v, beta, g.unsqueeze(-1), **options)


@in_float32
def kda(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    use_gate_in_kernel: bool = False,
    A_log: Tensor | None = None,
    dt_bias: Tensor | None = None,
    lower_bound: float | None = None,
    **options: Unpack[DeltaOptions],
) -> tuple[Tensor, Tensor | None]:
    """Kimi's delta rule (arXiv:2510.26692): as the gated one, with a decay for each key."""
    if use_gate_in_kernel:
        assert A_log is not None
        raw = g if dt_bias is None else g + dt_bias.view(g.shape[-2:])
        rate = A_log.exp().view(-1, 1)
        g = -rate * F.softplus(raw) if lower_bound is None else lower_bound * torch.sigmoid(rate * raw)
    return delta_rule(q, k, v, beta, g, **options)


@in_float32
def rwkv7(
    r: Tensor,
    w: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    lower_bound: float | None = None,
    **options: Unpack[Options],
) -> tuple[Tensor, Tensor | None]:
    """RWKV-7's recurrence (arXiv:2503.14456): log decay w, what is read at a is added at b.

    `lower_bound` is what the caller promises of w, and makes no difference.
    """
    options.setdefault("scale", 1.0)
    return _run(r, k, v, w, a, b, **options)


@in_float32
def rwkv7_steps(
    r: Tensor, w: Tensor, k: Tensor, v: Tensor, kk: Tensor, a: Tensor, **options: Unpack[Options]
) -> tuple[Tensor, Tensor | None]:
    """The same as `rwkv7`, with unit keys `kk` and rates `a`, from which it computes a and b."""
    return rwkv7(r, w, k, v, -kk, kk * a, **options)


def _run(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    read: Tensor | None = None,
    write: Tensor | None = None,
    rate: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    state_v_first: bool = False,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Scale the queries, transpose the state if fla has values first, and run."""
    refuse_packed(cu_seqlens)
    state = initial_state.transpose(-1, -2) if initial_state is not None and state_v_first else initial_state
    o, last_state = linear_recurrence(_scaled(q, scale), k, v, log_decay, read, write, state, rate)
    if not output_final_state:
        return o, None
    return o, last_state.transpose(-1, -2).contiguous() if state_v_first else last_state


def _scaled(q: Tensor, scale: float | None) -> Tensor:
    return q * (q.shape[-1] ** -0.5 if scale is None else scale)


def unit(x: Tensor) -> Tensor:
    """Unit vectors x / sqrt(|x|^2 + eps), by the norm that has a fused kernel and divides by a mean, not a sum."""
    dim = x.shape[-1]
    return rms_norm(x, x.new_full((dim,), dim**-0.5), _EPS / dim)
