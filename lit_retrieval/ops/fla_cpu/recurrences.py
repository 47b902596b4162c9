"""The recurrences of fla's functions, on a CPU, with the arguments of those functions.

They differ in how queries, keys and gates are prepared; `linear_recurrence` is behind all of them. With `state_v_first`
the state is `(batch, heads, value_dim, key_dim)`, ours transposed; with `reverse` the last token comes first. As in
fla's kernels, half precision is computed in float32, and the last state is float32.
"""

from typing import TypedDict, Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.errors import UserError
from lit_retrieval.ops.fla_cpu.parts import by_parts
from lit_retrieval.ops.half_precision import in_float32
from lit_retrieval.ops.linear_recurrence import linear_recurrence
from lit_retrieval.ops.rms_norm import rms_norm

_EPS = 1e-6  # what fla's kernels add to the square of a vector's length


class Options(TypedDict, total=False):
    """Arguments that all of fla's recurrences have; `by_parts` takes the last one."""

    scale: float | None
    initial_state: Tensor | None
    output_final_state: bool
    state_v_first: bool
    reverse: bool
    cu_seqlens: Tensor | None


class DeltaOptions(Options, total=False):
    """Further arguments of fla's delta rules, which say what is done to queries, keys and beta first."""

    use_qk_l2norm_in_kernel: bool
    use_beta_sigmoid_in_kernel: bool
    allow_neg_eigval: bool


@in_float32
@by_parts
def linear_attention(
    q: Tensor, k: Tensor, v: Tensor, normalize: bool = False, **options: Unpack[Options]
) -> tuple[Tensor, Tensor | tuple[Tensor | None, Tensor] | None]:
    """Linear attention (arXiv:2006.16236); `normalize` divides by the sum of the weights, and keeps the sum of keys."""
    first: Tensor | tuple[Tensor, Tensor] | None = options.get("initial_state")
    options["initial_state"], key_sum = first if isinstance(first, tuple) else (first, None)
    o, last = _run(q, k, v, **options)
    if not normalize:
        return o, last
    is_reversed = options.get("reverse", False)
    key_sums = k.flip(1).cumsum(1).flip(1) if is_reversed else k.cumsum(1)
    key_sums = key_sums if key_sum is None else key_sums + key_sum
    o = o / ((_scaled(q, options.get("scale")) * key_sums).sum(-1, keepdim=True) + 1e-10)
    return o, (last, key_sums[:, :1] if is_reversed else key_sums[:, -1:])


@in_float32
@by_parts
def gla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    g_gamma: Tensor | None = None,
    gk: Tensor | None = None,
    **options: Unpack[Options],
) -> tuple[Tensor, Tensor | None]:
    """Gated linear attention (arXiv:2312.06635), with the log of the decay of each key, or of each head.

    That is the sum of those given: `g` or `gk` for each token, `g_gamma`, `(heads,)`, for all, as in RetNet
    (arXiv:2307.08621).
    """
    if g_gamma is not None:
        g_gamma = g_gamma.to(q.dtype).expand(v.shape[:3])
    return _run(q, k, v, _total_decay(g, g_gamma, gk), **options)


@in_float32
@by_parts
def parallel_gla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    output_attentions: bool = False,
    **options: Unpack[Options],
) -> tuple[Tensor, Tensor | None]:
    """`gla` with a decay for each head, and its weights, `(batch, heads, time, time)`, in place of a state."""
    o, _ = gla(q, k, v, g, **options)
    if not output_attentions:
        return o, None
    weights = torch.einsum("bihk,bjhk->bhij", _scaled(q, options.get("scale")), k)
    if g is not None:
        sums = g.cumsum(1).transpose(1, 2)
        weights = weights * (sums.unsqueeze(3) - sums.unsqueeze(2)).tril().exp()
    return o, weights.tril()


@in_float32
@by_parts
def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor | None = None,
    g: Tensor | None = None,
    gk: Tensor | None = None,
    use_qk_l2norm_in_kernel: bool = False,
    use_beta_sigmoid_in_kernel: bool = False,
    allow_neg_eigval: bool = False,
    **options: Unpack[Options],
) -> tuple[Tensor, Tensor | None]:
    """DeltaNet's rule (arXiv:2406.06484): the state's value at k moves towards v by a fraction beta.

    `beta` is `(batch, time, heads)`, ones if absent, and more heads of values than of keys are allowed. The log of a
    decay, the sum of `g` and `gk`, comes before the correction.
    """
    if allow_neg_eigval and not use_beta_sigmoid_in_kernel:
        raise UserError("`allow_neg_eigval=True` requires `use_beta_sigmoid_in_kernel=True`")
    beta = torch.ones_like(v[..., 0]) if beta is None else beta
    if use_beta_sigmoid_in_kernel:
        beta = beta.sigmoid() * (2 if allow_neg_eigval else 1)
    if use_qk_l2norm_in_kernel:
        q, k = unit(q), unit(k)
    if v.shape[2] != q.shape[2]:
        q, k = (tensor.repeat_interleave(v.shape[2] // q.shape[2], 2) for tensor in (q, k))
    rate, log_decay = beta.unsqueeze(-1), _total_decay(g, gk)
    read = k * (-rate if log_decay is None else -rate * log_decay.exp())
    return _run(q, k, v, log_decay, read, k, rate, **options)


@in_float32
def gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    beta: Tensor | None = None,
    gk: Tensor | None = None,
    use_gate_in_kernel: bool = False,
    A_log: Tensor | None = None,
    dt_bias: Tensor | None = None,
    **options: Unpack[DeltaOptions],
) -> tuple[Tensor, Tensor | None]:
    """The gated delta rule (arXiv:2412.06464): before it is corrected, each head's state decays by one factor."""
    if use_gate_in_kernel:
        if g is None or A_log is None:
            raise UserError("`g` and `A_log` must be provided when `use_gate_in_kernel=True`")
        g = -A_log.exp() * F.softplus(g if dt_bias is None else g + dt_bias)
    return delta_rule(q, k, v, beta, g, gk, **options)


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
        g = kda_gate(g, A_log, dt_bias, lower_bound)
    return delta_rule(q, k, v, beta, g, **options)


def kda_gate(g: Tensor, A_log: Tensor | None, dt_bias: Tensor | None, lower_bound: float | None) -> Tensor:
    """The log of KDA's decay from g, `(batch, time, heads, key_dim)`; with a lower bound it may have no `A_log`."""
    if A_log is None and lower_bound is None:
        raise UserError("`A_log` must be provided when `use_gate_in_kernel=True` and `lower_bound` is not set")
    g = g if dt_bias is None else g + dt_bias.view(g.shape[-2:])
    rate = 1 if A_log is None else A_log.exp().view(-1, 1)
    return -rate * F.softplus(g) if lower_bound is None else lower_bound * torch.sigmoid(rate * g)


@in_float32
@by_parts
def generalized_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    gk: Tensor | None = None,
    lower_bound: float | None = None,
    **options: Unpack[Options],
) -> tuple[Tensor, Tensor | None]:
    """RWKV-7's recurrence (arXiv:2503.14456): the log of the decay is gk, and what is read at a is added at b.

    `lower_bound` is what the caller promises of gk, and makes no difference.
    """
    return _run(q, k, v, gk, a, b, **options)


@in_float32
def rwkv7_steps(
    r: Tensor, w: Tensor, k: Tensor, v: Tensor, kk: Tensor, a: Tensor, **options: Unpack[Options]
) -> tuple[Tensor, Tensor | None]:
    """RWKV-7's recurrence with log decay w, unit keys `kk` and rates `a`."""
    return generalized_delta_rule(r, k, v, -kk, kk * a, w, **options)


def refuse_packed(options: Options) -> None:
    """Raise `UserError` if several sequences are in a row."""
    if options.get("cu_seqlens") is not None:
        raise UserError("this recurrence takes no cu_seqlens on a CPU; give each sequence a row of its own")


def _run(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    read: Tensor | None = None,
    write: Tensor | None = None,
    rate: Tensor | None = None,
    **options: Unpack[Options],
) -> tuple[Tensor, Tensor | None]:
    """Scale the queries, turn time and state as the options say, and run."""
    refuse_packed(options)
    if options.pop("reverse", False):
        turned = [None if one is None else one.flip(1) for one in (q, k, v, log_decay, read, write, rate)]
        o, last_state = _run(*turned, **options)  # type: ignore[arg-type]
        return o.flip(1), last_state
    state, is_v_first = options.get("initial_state"), options.get("state_v_first", False)
    state = state.transpose(-1, -2) if state is not None and is_v_first else state
    o, last = linear_recurrence(_scaled(q, options.get("scale")), k, v, log_decay, read, write, state, rate)
    if not options.get("output_final_state"):
        return o, None
    return o, last.transpose(-1, -2).contiguous() if is_v_first else last


def _total_decay(*log_decays: Tensor | None) -> Tensor | None:
    """The sum of those that are not None, `(batch, time, heads, 1 or key_dim)`."""
    given = [tensor if tensor.dim() == 4 else tensor.unsqueeze(-1) for tensor in log_decays if tensor is not None]
    return sum(given[1:], given[0]) if given else None


def _scaled(q: Tensor, scale: float | None) -> Tensor:
    return q * (q.shape[-1] ** -0.5 if scale is None else scale)


def unit(x: Tensor) -> Tensor:
    """Unit vectors x / sqrt(|x|^2 + eps), by the norm that has a fused kernel and divides by a mean, not a sum."""
    dim = x.shape[-1]
    return rms_norm(x, x.new_full((dim,), dim**-0.5), _EPS / dim)
