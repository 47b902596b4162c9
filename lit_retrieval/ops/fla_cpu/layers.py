"""Other functions that fla's layers call, on a CPU: convolution, rotary positions, RWKV-7's elementwise parts, Mamba.

Each has the arguments of fla's own function.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops.arrays import runs_on_numba
from lit_retrieval.ops.causal_conv import causal_conv
from lit_retrieval.ops.causal_conv.cpu import causal_conv_backward
from lit_retrieval.ops.fla_cpu.gradients import gradients_of
from lit_retrieval.ops.fla_cpu.parts import by_parts, lengths_of
from lit_retrieval.ops.half_precision import in_float32, widen
from lit_retrieval.ops.lanes import WIDTH
from lit_retrieval.ops.linear_recurrence import linear_recurrence
from lit_retrieval.ops.rms_norm import rms_norm
from lit_retrieval.ops.selective_scan import selective_scan
from lit_retrieval.ops.silu_gate import silu_gate

_SILU = ("silu", "swish")


@by_parts
def causal_conv1d_fwd(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    activation: str | None = None,
    cu_seqlens: Tensor | None = None,
    cu_seqlens_cpu: Tensor | None = None,
    chunk_indices: Tensor | None = None,
    chunk_size: int = 64,
    layout_fallback: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """A causal depthwise convolution of x, `(batch, time, dim)`, by `weight (dim, kernel)`.

    fla's state is the last `kernel` inputs, `(batch, dim, kernel)`; the oldest of them has no influence any more.
    """
    rows, state = x.reshape(*x.shape[:2], -1), _or_zeros(initial_state, x, weight)
    y = _convolve(rows, weight, bias, state, activation)
    y = y if residual is None else y + residual.reshape_as(y)
    return y.view(x.shape), _last_inputs(rows, state) if output_final_state else None


def causal_conv1d_bwd(
    x: Tensor,
    dy: Tensor,
    dht: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    initial_state: Tensor | None = None,
    activation: str | None = None,
    cu_seqlens: Tensor | None = None,
    cu_seqlens_cpu: Tensor | None = None,
    chunk_indices: Tensor | None = None,
    chunk_size: int = 64,
    layout_fallback: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of `causal_conv1d_fwd` for x, weight, bias, residual and state; `dht` is the last state's."""
    assert weight is not None
    rows, drows = x.reshape(*x.shape[:2], -1), dy.reshape(*x.shape[:2], -1)
    if cu_seqlens is None:
        parts = [(rows, drows, _or_zeros(initial_state, x, weight), dht)]
    else:
        lengths = lengths_of(cu_seqlens, x)
        state = x.new_zeros(len(lengths), *weight.shape) if initial_state is None else initial_state
        dlasts = len(lengths) * [None] if dht is None else dht.split(1)  # type: ignore[no-untyped-call]
        split = rows.split(lengths, 1), drows.split(lengths, 1), state.split(1)  # type: ignore[no-untyped-call]
        parts = list(zip(*split, dlasts, strict=True))
    found = [_part_backward(*part, weight, bias, activation) for part in parts]
    dx, dstate, dweight, dbias = found[0] if len(found) == 1 else _join_gradients(found)
    dresidual = None if residual is None else dy
    return dx.view(x.shape), dweight, dbias, dresidual, None if initial_state is None else dstate


def _join_gradients(
    found: list[tuple[Tensor, Tensor, Tensor, Tensor | None]],
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Those for x and state one after another, and the sums of those for weight and bias."""
    dxs, dstates, dweights, dbiases = zip(*found, strict=True)
    dbias = None if dbiases[0] is None else torch.stack(dbiases).sum(0)
    return torch.cat(dxs, 1), torch.cat(dstates), torch.stack(dweights).sum(0), dbias


def _part_backward(
    x: Tensor,
    dy: Tensor,
    state: Tensor,
    dlast: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Gradients for x, state, weight and bias, of sequences that may be empty."""
    time, kernel = x.shape[1], weight.shape[1]
    if time:
        dx, dweight, dbias, dstate = _convolve_backward(x, weight, bias, state, activation, dy)
    else:
        dx, dweight, dstate = x, torch.zeros_like(weight), torch.zeros_like(state)
        dbias = None if bias is None else torch.zeros_like(bias)
    if dlast is not None:  # of the last `kernel` inputs, which are x's as far as there are so many, and the state's
        seen = min(time, kernel)
        dx[:, time - seen :] += dlast[..., kernel - seen :].transpose(1, 2)
        dstate[..., seen:] += dlast[..., : kernel - seen]
    return dx, dstate, dweight, dbias


@torch.no_grad()
def causal_conv1d_update(
    x: Tensor,
    cache: Tensor,
    residual: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    activation: str | None = None,
) -> tuple[Tensor, Tensor]:
    """One step of `causal_conv1d_fwd` for each sample, which writes into `cache`, as fla's own does."""
    assert weight is not None
    step = x.reshape(len(cache), 1, -1)
    y = _convolve(step, weight, bias, cache, activation).view(x.shape)
    cache.copy_(_last_inputs(step, cache))
    return (y if residual is None else y + residual), cache


def _or_zeros(state: Tensor | None, x: Tensor, weight: Tensor) -> Tensor:
    return x.new_zeros(len(x), *weight.shape) if state is None else state


def _last_inputs(x: Tensor, state: Tensor) -> Tensor:
    """The convolution's next state, `(batch, dim, kernel)`."""
    kernel = state.shape[2]
    return torch.cat([state, x[:, -kernel:].transpose(1, 2)], 2)[:, :, -kernel:].contiguous()


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor, activation: str | None) -> Tensor:
    dtype, before = x.dtype, widen(state[:, :, 1:].transpose(1, 2))
    x, weight, bias = widen(x), widen(weight), widen(bias)
    bias = x.new_zeros(len(weight)) if bias is None else bias
    return causal_conv(x, weight, bias, before, activation in _SILU)[0].to(dtype)


def _convolve_backward(
    x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor, activation: str | None, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """The gradients of `_convolve` for x, weight, bias and state."""
    x, weight, bias, state, dy = widen(x), widen(weight), widen(bias), widen(state), widen(dy)
    if len(weight) % WIDTH == 0 and runs_on_numba(x, weight, bias, state):
        return _convolve_backward_numba(x, weight, bias, state, dy, activation in _SILU)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor) -> tuple[Tensor]:
        return (_convolve(x, weight, bias, state, activation),)

    dx, dweight, dbias, dstate = gradients_of(run, (x, weight, bias, state), (dy,))
    assert dx is not None and dweight is not None and dstate is not None
    return dx, dweight, dbias, dstate


def _convolve_backward_numba(
    x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor, dy: Tensor, silu: bool
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """The same without running the forward again."""
    offset = x.new_zeros(len(weight)) if bias is None else bias
    before, weight_t = state[:, :, 1:].transpose(1, 2).contiguous(), weight.t().contiguous()
    dx, dweight_t, doffset, dbefore = causal_conv_backward(x.contiguous(), weight_t, offset, before, dy, None, silu)
    return dx, dweight_t.t(), None if bias is None else doffset, F.pad(dbefore.transpose(1, 2), (1, 0))


def rotary_embedding_fwdbwd(
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    seqlen_offsets: int | Tensor = 0,
    cu_seqlens: Tensor | None = None,
    interleaved: bool = False,
    inplace: bool = False,
    conjugate: bool = False,
    chunk_indices: Tensor | None = None,
) -> Tensor:
    """Rotary positions for x, `(batch, time, heads, head_dim)`; `conjugate` turns back, which is the gradient.

    `interleaved` pairs neighbors; else element i is paired with i + half. Elements beyond the pairs are unchanged.
    """
    steps = positions_of(x, cu_seqlens, seqlen_offsets)
    cos, sin = widen(cos)[steps].unsqueeze(2), widen(sin)[steps].unsqueeze(2)  # (1 or batch, time, 1, pairs)
    sin = -sin if conjugate else sin
    pairs = cos.shape[-1]
    turned, rest = widen(x[..., : 2 * pairs]), x[..., 2 * pairs :]
    first, second = (turned[..., ::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
    parts = first * cos - second * sin, first * sin + second * cos
    y = torch.stack(parts, -1).flatten(-2) if interleaved else torch.cat(parts, -1)
    y = torch.cat([y.to(x.dtype), rest], -1)
    return x.copy_(y) if inplace else y


def positions_of(x: Tensor, cu_seqlens: Tensor | None, offsets: int | Tensor) -> Tensor:
    """The position of each token of x `(batch, time, ...)` in its sequence, plus the sequence's offset if any.

    As in fla, the rows of a batch are read as one row of sequences.
    """
    offsets = torch.as_tensor(offsets, device=x.device)
    if cu_seqlens is None:
        return torch.arange(x.shape[1], device=x.device) + offsets.view(-1, 1)
    starts = [torch.arange(length) for length in lengths_of(cu_seqlens, x.flatten(0, 1).unsqueeze(0))]
    counts = torch.tensor([len(one) for one in starts])
    return (torch.cat(starts) + offsets.expand(len(starts)).repeat_interleave(counts)).view(len(x), -1)


@by_parts
def token_shift(
    x: Tensor, cu_seqlens: Tensor | None = None, cache: Tensor | None = None, output_cache: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """The token before minus this one, for x `(batch, time, dim)`, and the last token, `(batch, dim)`, if asked."""
    first = torch.zeros_like(x[:, :1]) if cache is None else cache.view_as(x[:, :1])
    delta = torch.cat([first, x[:, :-1]], 1) - x
    return (delta, x[:, -1]) if output_cache else delta


def rwkv7_mixtures(
    hidden_states: Tensor,
    delta: Tensor,
    xr: Tensor,
    xw: Tensor,
    xk: Tensor,
    xv: Tensor,
    xa: Tensor,
    xg: Tensor | None = None,
) -> tuple[Tensor | None, ...]:
    """Mixtures x + delta * share for each share, `(1, 1, dim)`; None for a share that is None."""
    x, delta = widen(hidden_states), widen(delta)
    mixed = (None if share is None else x.addcmul(delta, widen(share)) for share in (xr, xw, xk, xv, xa, xg))
    return tuple(None if one is None else one.to(hidden_states.dtype) for one in mixed)


@in_float32
def rwkv7_keys(k: Tensor, a: Tensor, ka: Tensor, cu_seqlens: Tensor | None = None) -> Tensor:
    """The keys k (1 + (a - 1) ka), of each token by itself, whatever sequence it is in."""
    return k.addcmul(k * (a - 1), ka)


@in_float32
def rwkv7_output(o: Tensor, r: Tensor, k: Tensor, r_k: Tensor, v: Tensor, g: Tensor) -> Tensor:
    """The outputs (o + (sum over key_dim of r k r_k) v) g, for o and g `(batch, time, heads * value_dim)`."""
    return (o + ((r * k * r_k).sum(-1, keepdim=True) * v).flatten(2)) * g


def sort_by_memory(
    x: Tensor, routing_mask: Tensor, num_memories: int, selected_memories: Tensor, attention_mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The tokens of each memory in a mixture of memories (arXiv:2502.13685), in place of `fla.layers.mom.transform`.

    fla's sort does not keep tokens of one memory in their order on a CPU, so that a token would see later ones.

    Args:
        x: `(batch, time, dim)`.
        routing_mask: Not used; it is `selected_memories` as zeros and ones.
        num_memories: Memories of a sample.
        selected_memories: Those of each token, `(batch, time)` or `(batch, time, memories of a token)`.
        attention_mask: Zeros at padding, `(batch, time)`.

    Returns:
        The tokens, `(num_memories, batch, most, dim)`; where they are among the sorted ones, `(batch * num_memories,
        most)`; the sorted tokens' places; most, the number of tokens of the fullest memory; and which of the first
        ones are tokens, in their shape and as `(num_memories, batch, most)`.
    """
    chosen = selected_memories.view(*x.shape[:2], -1)
    count, copies = len(x) * num_memories, chosen.shape[2]
    memories = chosen + num_memories * torch.arange(len(x), device=x.device).view(-1, 1, 1)
    if attention_mask is not None:  # padding comes last
        memories = memories.masked_fill(~attention_mask[:, -x.shape[1] :, None].bool(), count)
    order = memories.flatten().argsort(stable=True)
    lengths = memories.flatten().bincount(minlength=count)[:count]
    most, ends = lengths.max(), lengths.cumsum(0)
    places = torch.arange(int(most), device=x.device) + (ends - lengths).unsqueeze(1)
    is_token = places < ends.unsqueeze(1)
    places = places.masked_fill(~is_token, 0)
    tokens = x.flatten(0, 1).repeat_interleave(copies, 0)[order][places]
    in_memories = (len(x), num_memories, int(most))
    by_memory = tokens.view(*in_memories, -1).transpose(0, 1)
    return by_memory, places, order, most, is_token, is_token.view(in_memories).transpose(0, 1)


def channel_mixing_rwkv7(
    x: Tensor, x_prev: Tensor, x_k: Tensor, key_weight: Tensor, value_weight: Tensor, inplace: bool = True
) -> tuple[Tensor, Tensor]:
    """RWKV-7's feed-forward part, after the token `x_prev`, `(batch, dim)` or `(batch, 1, dim)`; and the last token."""
    return _mix_channels(x, x_prev.view(len(x), 1, -1), x_k, key_weight, value_weight), x[:, -1]


@in_float32
def _mix_channels(x: Tensor, before: Tensor, share: Tensor, key_weight: Tensor, value_weight: Tensor) -> Tensor:
    k = x.addcmul(torch.cat([before, x[:, :-1]], 1) - x, share) @ key_weight
    return k.relu().square() @ value_weight


def mamba_forward(
    layer: Any,
    input_states: Tensor,
    last_state: dict[str, Tensor] | None = None,
    use_cache: bool = False,
    attention_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Mamba (arXiv:2312.00752), in place of fla's `Mamba.slow_forward`, with the state of an earlier call if any.

    Returns:
        The outputs, the convolution's state `(batch, dim, kernel)`, and the scan's, `(batch, dim, state_size)`.
    """
    x, gate = layer.in_proj(input_states).chunk(2, -1)
    weight = layer.conv1d.weight.squeeze(1)
    before, state = x.new_zeros(len(x), *weight.shape), None
    if last_state is not None:
        before, state = last_state["conv_state"], last_state["recurrent_state"].transpose(1, 2)
    mask = attention_mask if last_state is None else None
    x = _without_padding(x, mask)
    conv_state, x = _last_inputs(x, before), _convolve_and_activate(layer, x, weight, layer.conv1d.bias, before)
    x = _without_padding(x, mask)
    sizes = [layer.dt_rank, layer.ssm_state_size, layer.ssm_state_size]
    dt, B, C = layer.x_proj(x).split(sizes, -1)
    dt = F.softplus(layer.dt_proj(dt))
    y, state = selective_scan(x, dt, -widen(layer.A_log).exp(), B, C, state)
    y = (y + x * layer.D) * layer.act(gate)
    return layer.out_proj(y.to(x.dtype)), conv_state, state.transpose(1, 2).contiguous()


def mamba2_forward(
    layer: Any,
    input_states: Tensor,
    last_state: dict[str, Tensor] | None = None,
    use_cache: bool = False,
    attention_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Mamba-2 (arXiv:2405.21060), in place of fla's `Mamba2.torch_forward`, with the state of an earlier call if any.

    Returns:
        The outputs, the convolution's state `(batch, conv_dim, kernel)`, and the recurrence's,
        `(batch, heads, head_dim, state_size)`.
    """
    batch, time, _ = input_states.shape
    heads, groups, state_size = layer.num_heads, layer.n_groups, layer.ssm_state_size
    conv_state, state = (
        (None, None) if last_state is None else (last_state["conv_state"], last_state["recurrent_state"])
    )
    gate, x, BC, dt = project(layer, input_states, [*2 * [layer.intermediate_size], 2 * groups * state_size, heads])
    mask = attention_mask if last_state is None else None
    x, BC, conv_state = convolve_apart(layer, _without_padding(x, mask), _without_padding(BC, mask), conv_state)
    x, BC = _without_padding(x, mask), _without_padding(BC, mask)
    B, C = (part.reshape(batch, time, groups, state_size) for part in BC.chunk(2, -1))
    dt = F.softplus(widen(dt) + layer.dt_bias).clamp(*layer.dt_limit).unsqueeze(-1)
    log_decay = -widen(layer.A_log).exp().view(-1, 1) * dt
    state = None if state is None else state.transpose(2, 3)
    inputs = widen(C), widen(B), widen(x).view(batch, time, heads, -1), log_decay
    recur = linear_recurrence if x.is_cpu else recur_by_fla
    y, state = recur(*inputs, state=state, rate=dt, skip=widen(layer._get_D(expand_to_head_dim=True)))
    y, gate = y.flatten(2), widen(gate)
    y = gate_and_norm(y, gate, layer) if layer.rmsnorm else y * layer.act(gate)
    return layer.out_proj(y.to(x.dtype)), conv_state, state.transpose(2, 3).contiguous()


def recur_by_fla(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor | None, rate: Tensor, skip: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A `linear_recurrence` with one decay for each head by fla's kernels of simple GLA, for a GPU."""
    from fla.ops.simple_gla import chunk_simple_gla, fused_recurrent_simple_gla

    shared = v.shape[2] // q.shape[2]  # heads of a group
    q, k = q.repeat_interleave(shared, 2), k.repeat_interleave(shared, 2)
    run = fused_recurrent_simple_gla if q.shape[1] == 1 else chunk_simple_gla
    y, last = run(q, k, v * rate, log_decay.squeeze(-1), scale=1.0, initial_state=state, output_final_state=True)
    return y if skip is None else y + v * skip, last


def _without_padding(x: Tensor, mask: Tensor | None) -> Tensor:
    """X with zeros at padding tokens, where the mask `(batch, time)` is 0: the convolution's bias is not a token."""
    return x if mask is None or mask.shape != x.shape[:2] else x * mask.unsqueeze(-1).to(x.dtype)


def project(layer: Any, x: Tensor, sizes: list[int]) -> list[Tensor]:
    """Gate, x, B with C, and others, by parts of one weight: parts of one output would have to be copied."""
    weights = torch.split(layer.in_proj.weight, sizes)
    biases = [None] * len(sizes) if layer.in_proj.bias is None else torch.split(layer.in_proj.bias, sizes)
    return [F.linear(x, weight, bias) for weight, bias in zip(weights, biases, strict=True)]


def convolve_apart(layer: Any, x: Tensor, BC: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The convolution of x, and that of B with C, as it is depthwise; and the last inputs of both."""
    sizes, bias, weight = [x.shape[-1], BC.shape[-1]], layer.conv1d.bias, layer.conv1d.weight.squeeze(1)
    state = x.new_zeros(len(x), *weight.shape) if state is None else state
    weights, states = torch.split(weight, sizes), torch.split(state, sizes, 1)
    biases = [None, None] if bias is None else torch.split(bias, sizes)
    both = list(zip((x, BC), weights, biases, states, strict=True))
    x, BC = (_convolve_and_activate(layer, *inputs) for inputs in both)
    return x, BC, torch.cat([_last_inputs(inputs, before) for inputs, _, _, before in both], 1)


def _convolve_and_activate(layer: Any, x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor) -> Tensor:
    """The convolution of Mamba or Mamba-2, and its activation, which need not be SiLU."""
    y = _convolve(x, weight, bias, state, layer.activation)
    return y if layer.activation in _SILU else layer.act(y)


def gate_and_norm(y: Tensor, gate: Tensor, layer: Any) -> Tensor:
    """The gated norm at the end of Mamba-2 and its heirs: over groups of channels, before the gate or after it."""
    norm = layer.norm
    y = y if norm.norm_before_gate else silu_gate(y, gate)
    if norm.group_size in (None, y.shape[-1]):
        y = rms_norm(y, widen(norm.weight), norm.eps)
    else:
        groups = y.view(*y.shape[:2], -1, norm.group_size)
        y = rms_norm(groups, torch.ones_like(groups[0, 0, 0]), norm.eps).flatten(2) * widen(norm.weight)
    return silu_gate(y, gate) if norm.norm_before_gate else y
