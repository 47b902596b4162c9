"""The forwards of fla's Mamba and Mamba-2, and functions shared with their successors."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops.fla_cpu.layers import SILU, convolve, last_inputs
from lit_retrieval.ops.half_precision import widen
from lit_retrieval.ops.linear_recurrence import linear_recurrence
from lit_retrieval.ops.rms_norm import rms_norm
from lit_retrieval.ops.selective_scan import selective_scan
from lit_retrieval.ops.silu_gate import silu_gate


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
    conv_state, x = last_inputs(x, before), _convolve_and_activate(layer, x, weight, layer.conv1d.bias, before)
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
    """Set x to zero at padding, where the mask `(batch, time)` is 0; a convolution's bias makes it nonzero again."""
    return x if mask is None or mask.shape != x.shape[:2] else x * mask.unsqueeze(-1).to(x.dtype)


def project(layer: Any, x: Tensor, sizes: list[int]) -> list[Tensor]:
    """Compute gate, x, B with C, and others by slices of the weight; slices of one output would have to be copied."""
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
    return x, BC, torch.cat([last_inputs(inputs, before) for inputs, _, _, before in both], 1)


def _convolve_and_activate(layer: Any, x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor) -> Tensor:
    """The convolution of Mamba or Mamba-2, and its activation, which need not be SiLU."""
    y = convolve(x, weight, bias, state, layer.activation)
    return y if layer.activation in SILU else layer.act(y)


def gate_and_norm(y: Tensor, gate: Tensor, layer: Any) -> Tensor:
    """The gated norm at the end of Mamba-2 and its successors: over groups of channels, before or after the gate."""
    norm = layer.norm
    y = y if norm.norm_before_gate else silu_gate(y, gate)
    if norm.group_size in (None, y.shape[-1]):
        y = rms_norm(y, widen(norm.weight), norm.eps)
    else:
        groups = y.view(*y.shape[:2], -1, norm.group_size)
        y = rms_norm(groups, torch.ones_like(groups[0, 0, 0]), norm.eps).flatten(2) * widen(norm.weight)
    return silu_gate(y, gate) if norm.norm_before_gate else y
