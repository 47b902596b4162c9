"""Other functions that fla's layers call, on a CPU: convolution, rotary positions, RWKV-7's elementwise parts.

Each has the arguments of fla's own function.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops.arrays import runs_on_numba
from lit_retrieval.ops.causal_conv import causal_conv
from lit_retrieval.ops.causal_conv.cpu import causal_conv_backward
from lit_retrieval.ops.fla_cpu.gradients import gradients_of
from lit_retrieval.ops.fla_cpu.parts import Packing, by_parts, lengths_of
from lit_retrieval.ops.half_precision import in_float32, widen
from lit_retrieval.ops.lanes import WIDTH

SILU = ("silu", "swish")


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
    y = convolve(rows, weight, bias, state, activation)
    y = y if residual is None else y + residual.reshape_as(y)
    return y.view(x.shape), last_inputs(rows, state) if output_final_state else None


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
    options = weight, bias, activation
    if cu_seqlens is None:
        given = rows, drows, _or_zeros(initial_state, x, weight), dht
        dx, dstate, dweight, dbias = _part_backward(*given, *options)
    else:
        packing = Packing(lengths_of(cu_seqlens, x), dht is None, x.device)
        found = []
        for group in packing.groups:
            own, down = packing.rows(rows, group), packing.rows(drows, group)
            state, dlast = (None if one is None else one.index_select(0, group.members) for one in (initial_state, dht))
            found.append(_part_backward(own, down, _or_zeros(state, own, weight), dlast, *options))
        dxs, dstates, dweights, dbiases = zip(*found, strict=True)
        dx, dstate = packing.row(dxs), packing.last_states(dht, dstates)
        dweight, dbias = torch.stack(dweights).sum(0), None if bias is None else torch.stack(dbiases).sum(0)
    dresidual = None if residual is None else dy
    return dx.view(x.shape), dweight, dbias, dresidual, None if initial_state is None else dstate


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
    y = convolve(step, weight, bias, cache, activation).view(x.shape)
    cache.copy_(last_inputs(step, cache))
    return (y if residual is None else y + residual), cache


def _or_zeros(state: Tensor | None, x: Tensor, weight: Tensor) -> Tensor:
    return x.new_zeros(len(x), *weight.shape) if state is None else state


def last_inputs(x: Tensor, state: Tensor) -> Tensor:
    """The convolution's next state, `(batch, dim, kernel)`."""
    kernel = state.shape[2]
    return torch.cat([state, x[:, -kernel:].transpose(1, 2)], 2)[:, :, -kernel:].contiguous()


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor, activation: str | None) -> Tensor:
    """The causal depthwise convolution of `x`, `(batch, time, dim)`, and SiLU if it is the activation.

    Args:
        x: The inputs.
        weight: `(dim, kernel)`.
        bias: `(dim,)`.
        state: The last inputs before x, `(batch, dim, kernel)`.
        activation: Its name; one that is not in `SILU` is left to the caller.
    """
    dtype, before = x.dtype, widen(state[:, :, 1:].transpose(1, 2))
    x, weight, bias = widen(x), widen(weight), widen(bias)
    bias = x.new_zeros(len(weight)) if bias is None else bias
    return causal_conv(x, weight, bias, before, activation in SILU)[0].to(dtype)


def _convolve_backward(
    x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor, activation: str | None, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """The gradients of `convolve` for x, weight, bias and state."""
    x, weight, bias, state, dy = widen(x), widen(weight), widen(bias), widen(state), widen(dy)
    if len(weight) % WIDTH == 0 and runs_on_numba(x, weight, bias, state):
        return _convolve_backward_numba(x, weight, bias, state, dy, activation in SILU)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor) -> tuple[Tensor]:
        return (convolve(x, weight, bias, state, activation),)

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
