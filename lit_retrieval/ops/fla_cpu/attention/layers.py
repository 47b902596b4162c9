"""Methods of fla's layers that do not support a CPU, or decode only in bfloat16 or one token at a time.

Each function replaces a method of the layer, which is its first argument. Caches are fla's. Padding may be on the left
or on the right.
"""

from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.errors import UserError
from lit_retrieval.ops.fla_cpu.attention.path import parallel_path_attn, path_attention
from lit_retrieval.ops.fla_cpu.attention.softmax import parallel_forgetting_attn, softmax_attention
from lit_retrieval.ops.fla_cpu.attention.stick_breaking import parallel_stickbreaking_attn
from lit_retrieval.ops.fla_cpu.attention.wall import wall_attention
from lit_retrieval.ops.half_precision import widen

_Answer = tuple[Tensor, None, Any]


class _Packed(TypedDict, total=False):
    """Further arguments of fla's layers: where each part of a packed row begins, and the row's end."""

    cu_seqlens: Tensor | None


def _in_heads(x: Tensor, head_dim: int) -> Tensor:
    return x.unflatten(-1, (-1, head_dim))  # type: ignore[no-untyped-call,no-any-return]


def forgetting_attention(
    layer: Any,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    past_key_values: Any = None,
    output_attentions: bool = False,
    use_cache: bool = False,
    **kwargs: Unpack[_Packed],
) -> _Answer:
    """The forgetting transformer's attention (arXiv:2503.02130), in place of fla's `ForgettingAttention.forward`."""
    if layer.window_size is not None:
        raise UserError("ForgettingAttention must have window_size=None: fla's own has a window in its cache alone")
    q, k, v = layer.q_proj(hidden_states), layer.k_proj(hidden_states), layer.v_proj(hidden_states)
    g = F.logsigmoid(widen(layer.f_proj(hidden_states)))
    if layer.qk_norm:
        q, k = layer.q_norm(q), layer.k_norm(k)
    if attention_mask is not None:
        g = g.masked_fill(~attention_mask[:, -q.shape[1] :, None].bool(), 0)
    if past_key_values is not None:
        state = past_key_values.update(attn_state=(k, v, g), layer_idx=layer.layer_idx, offset=q.shape[1])
        k, v, g = state["attn_state"]
    q, k, v = (_in_heads(one, layer.head_dim) for one in (q, k, v))
    cu_seqlens = kwargs.get("cu_seqlens")
    if cu_seqlens is not None:
        o = parallel_forgetting_attn(q, k, v, g, cu_seqlens=cu_seqlens)
    else:
        o = softmax_attention(q, k, v, g, is_real=_real(attention_mask, k))[0]
    o = o.flatten(2)
    if layer.use_output_gate:
        o = layer.g_proj(hidden_states).sigmoid() * o
    return layer.o_proj(o), None, past_key_values


def _real(attention_mask: Tensor | None, k: Tensor) -> Tensor | None:
    """A mask of the keys that are not padding, `(batch, keys)`, or None for all."""
    return None if attention_mask is None else attention_mask[:, -k.shape[1] :].bool()


def path_attention_layer(
    layer: Any,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    past_key_values: Any = None,
    output_attentions: bool = False,
    use_cache: bool = False,
    **kwargs: Unpack[_Packed],
) -> _Answer:
    """PaTH attention (arXiv:2505.16381), in place of fla's `PaTHAttention.forward`; with a cache in training too."""
    time, cu_seqlens, caches = hidden_states.shape[1], kwargs.get("cu_seqlens"), past_key_values is not None
    last = past_key_values[layer.layer_idx] if caches and len(past_key_values) > layer.layer_idx else {}
    w, beta = layer.w_proj(hidden_states), widen(layer.bt_proj(hidden_states)).sigmoid() * 2
    g = F.logsigmoid(widen(layer.g_proj(hidden_states))) if layer.use_forget_gate else None
    if attention_mask is not None:  # padding changes no key
        real = attention_mask[:, -time:, None].bool()
        w, beta, g = w * real, beta * real, None if g is None else g * real
    conv_state = last.get("conv_state")
    if layer.use_w_shortconv:
        w, conv_state = layer.w_conv1d(w, cache=conv_state, output_final_state=caches, cu_seqlens=cu_seqlens)
    q, k, v, w = (
        _in_heads(one, layer.head_dim)
        for one in (layer.q_proj(hidden_states), layer.k_proj(hidden_states), layer.v_proj(hidden_states), widen(w))
    )
    q, k = layer.maybe_q_norm(q), layer.maybe_k_norm(k)
    w = w * (w.square().sum(-1, keepdim=True) + 1e-6).rsqrt()
    if cu_seqlens is not None:
        o, _ = parallel_path_attn(q, k, v, w, beta, g, cu_seqlens=cu_seqlens)
    else:
        if past := last.get("attn_state"):
            k, v = torch.cat([past[0], k], 1), torch.cat([past[1], v], 1)
            g = None if g is None else torch.cat([past[2], g], 1)
        o, k = path_attention(q, w, beta, k, v, g, is_real=_real(attention_mask, k))
        if caches:
            past_key_values.update(conv_state=conv_state, layer_idx=layer.layer_idx, offset=time)
            past_key_values[layer.layer_idx]["attn_state"] = (k, v) if g is None else (k, v, g)
    return layer.o_proj(o.flatten(2)), None, past_key_values


def stick_breaking_attention(
    layer: Any,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    past_key_values: Any = None,
    output_attentions: bool = False,
    use_cache: bool = False,
    **kwargs: Unpack[_Packed],
) -> _Answer:
    """Stick-breaking attention, in place of fla's `StickBreakingAttention.forward`, which wants half precision."""
    if use_cache or past_key_values is not None or output_attentions:
        raise NotImplementedError("StickBreakingAttention has no cache and shows no weights")
    q, k, v = (
        _in_heads(project(hidden_states), layer.head_dim) for project in (layer.q_proj, layer.k_proj, layer.v_proj)
    )
    if layer.qk_norm:
        q, k = layer.q_norm(q), layer.k_norm(k)
    bounds, is_padded = kwargs.get("cu_seqlens"), attention_mask is not None and kwargs.get("cu_seqlens") is None
    if attention_mask is not None and is_padded:
        real, shape = attention_mask.bool(), q.shape
        bounds = F.pad(real.sum(1).cumsum(0), (1, 0))
        q, k, v = (one[real].unsqueeze(0) for one in (q, k, v))
    o, _ = parallel_stickbreaking_attn(q, k, v, attend_current=layer.attend_current, cu_seqlens=bounds)
    if is_padded:
        o = q.new_zeros(shape).masked_scatter(real[..., None, None], o)
    return layer.o_proj(o.flatten(2)), None, None


def wall_attention_to_all(
    layer: Any, q: Tensor, k: Tensor, v: Tensor, g: Tensor, gs: Tensor | None, past_key_values: Any, q_len: int
) -> Tensor:
    """Attention to all keys so far, in place of fla's `WallAttention._decode_incremental`; the cache is k, v, g and gs.

    fla's cache has scaled keys in bfloat16, whatever the layer's precision.
    """
    new = (k, v, g) if gs is None else (k, v, g, gs)
    state = past_key_values.update(attn_state=new, layer_idx=layer.layer_idx, offset=q_len)
    return wall_attention(q, *state["attn_state"])[0]


def wall_attention_to_window(layer: Any, q: Tensor, k: Tensor, v: Tensor, g: Tensor, gs: Tensor | None) -> Tensor:
    """Attention to the keys of a window, in place of fla's `WallAttention._decode_rebuild`."""
    return wall_attention(q, k, v, g, gs, window=layer.window_size)[0]


def as_it_is(x: Tensor) -> Tensor:
    """The tensor itself, in place of fla's `autocast_to_fp16`, which rounds float32 for flash-attn."""
    return x
