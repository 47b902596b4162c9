"""Exports a trained model as a folder of transformers or fla."""

import inspect
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from operator import attrgetter
from typing import Any

import torch
from torch import nn

from lit_retrieval.errors import UserError, missing_package, one_line
from lit_retrieval.mixers import Attention, FlaLayer, Mamba, SlidingWindowAttention, SwiGLU
from lit_retrieval.mixers.checks.case import relative_difference
from lit_retrieval.models import CachedModel, SequenceModel, WholeModel, prepare_fla
from lit_retrieval.pretrained.folder import ALLOWED, random_tokens
from lit_retrieval.pretrained.layers import compare
from lit_retrieval.pretrained.layout import FLA, LLAMA, MAMBA, Layout, weights_out
from lit_retrieval.pretrained.lora import merge_adapters

_ALLOWED = 1e-5  # of the largest logit, in float32
_PLACES = 2**17  # default number of positions; rotary positions have no limit, but a configuration needs one
_OF_FLA = {
    "DeltaNet": "DeltaNet", "GatedDeltaNet": "GatedDeltaNet", "GatedLinearAttention": "GLA",
    "KimiDeltaAttention": "KDA", "LinearAttention": "LinearAttention", "MultiScaleRetention": "RetNet",
}  # fmt: skip
_NAMED_OTHERWISE = {"attn_mode": "mode"}  # keys of fla's configurations whose layers have another name for them
_KNOWN = (
    "transformers and fla have models of Mamba alone, and of SwiGLU after Attention, SlidingWindowAttention or fla's "
    f"{', '.join(_OF_FLA)}"
)
_Placed = Sequence[tuple[int, Any]]


def as_causal_model(model: nn.Module) -> Any:
    """Convert a trained model to a causal language model of transformers or fla, on the CPU and in float32.

    `model` may be changed. Adapters are merged into the weights.

    Raises:
        UserError: If neither has such a model; the error names the layer.
    """
    if isinstance(model, WholeModel) and isinstance(model.network, CachedModel):
        return _merged(model.network)
    if type(model) is not SequenceModel:
        raise UserError(f"a model of the class {type(model).__name__} can't be exported; {_KNOWN}")
    model = model.cpu().float().eval()
    layout, other = _made(model)
    try:
        other.load_state_dict(weights_out(model, layout))
    except RuntimeError as error:
        said = one_line(error)
        raise UserError(f"the run can't be exported, since its layers have other weights: {said}") from None
    if not (difference := compare(model, other.eval())) <= _ALLOWED:
        raise UserError(
            f"{_kind(other)} with these weights differs by {difference:.1e} of the largest logit, since its "
            "configuration has no keys for some arguments of the layers; it can't be exported"
        )
    return other


@torch.no_grad()
def _merged(network: CachedModel) -> Any:
    """The model of a network with its adapters merged; raises `UserError` if this changes its logits."""
    model, tokens = network.model.cpu().float().eval(), random_tokens(network.vocab_size)
    before = model(input_ids=tokens, use_cache=False).logits
    after = merge_adapters(model)(input_ids=tokens, use_cache=False).logits
    if not (difference := relative_difference(after, before)) <= ALLOWED:
        raise UserError(
            f"{_kind(model)} with its adapters merged differs by {difference:.1e} of the largest logit; it can't be "
            "exported"
        )
    return model


def _made(model: SequenceModel) -> tuple[Layout, Any]:
    """The layout of the other model, and that model with random weights."""
    placed = list(enumerate(model.mixers))
    options = {
        "vocab_size": model.vocab_size, "hidden_size": model.embedding.shape[1],
        "tie_word_embeddings": model.head is None,
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
    }  # fmt: skip
    eps = _same([(place, norm) for place, norm in enumerate([*model.norms, model.final_norm])], "norm_eps", _eps)
    if all(isinstance(mixer, Mamba) for mixer in model.mixers):
        options |= {"layer_norm_epsilon": eps, "num_hidden_layers": len(placed)}
        return MAMBA, _build("Mamba", options | _mamba(placed))
    firsts, seconds = placed[::2], placed[1::2]
    for place, mixer in placed:
        is_alone = len(firsts) > len(seconds) and place == firsts[-1][0]
        if is_alone or not isinstance(mixer, SwiGLU if place % 2 else Attention | FlaLayer):
            raise UserError(f"layer {place}, {_kind(mixer)}, can't be exported; {_KNOWN}")
    options |= {"num_hidden_layers": len(firsts), "max_position_embeddings": model.most_places or _PLACES}
    options["intermediate_size"] = _same(seconds, "intermediate_size", lambda one: one.down_proj.in_features)
    if isinstance(firsts[0][1], Attention):
        name, more = _llama(firsts)
        return LLAMA, _build(name, options | more | {"rms_norm_eps": eps})
    return FLA, _build_of_fla(firsts, options | {"norm_eps": eps, "hidden_act": "swish"})


def _mamba(placed: _Placed) -> dict[str, Any]:
    read: dict[str, Callable[[Any], Any]] = {
        "state_size": lambda one: one.state_dim,
        "expand": lambda one: one.dim // one.in_proj.in_features,
        "conv_kernel": lambda one: one.conv1d.kernel_size[0],
        "time_step_rank": lambda one: one.dt_rank,
        "use_bias": lambda one: one.in_proj.bias is not None,
        "use_conv_bias": lambda one: one.conv1d.bias is not None,
    }
    return {key: _same(placed, key, value) for key, value in read.items()}


def _llama(placed: _Placed) -> tuple[str, dict[str, Any]]:
    """The name of LLaMA, or of its variant with windows, and the keys of its configuration."""
    _same(placed, "kind", lambda one: "attention" if isinstance(one, Attention) else _kind(one))
    if (position := _same(placed, "position", lambda one: one.position)) != "rope":
        raise UserError(f"layer 0, {_kind(placed[0][1])}, can't be exported: position must be rope, got {position}")
    options = {
        "num_attention_heads": _same(placed, "num_heads", lambda one: one.num_heads),
        "num_key_value_heads": _same(placed, "num_kv_heads", lambda one: one.num_kv_heads),
        "head_dim": placed[0][1].head_dim,
        "rope_parameters": {
            "rope_type": "default", "rope_theta": _same(placed, "rope_base", lambda one: one.rope_base)
        },
    }  # fmt: skip
    windows = [(place, mixer) for place, mixer in placed if isinstance(mixer, SlidingWindowAttention)]
    if not windows:
        return "Llama", options
    kinds = [isinstance(mixer, SlidingWindowAttention) for _, mixer in placed]
    options["sliding_window"] = _same(windows, "window", lambda one: one.window)
    options["layer_types"] = ["sliding_attention" if is_window else "full_attention" for is_window in kinds]
    return "Ministral", options


def _build(name: str, options: dict[str, Any]) -> Any:
    """A model of transformers."""
    package = _transformers()
    configuration = getattr(package, f"{name}Config")
    prepare_fla(configuration)
    return getattr(package, f"{name}ForCausalLM")(configuration(**options))


def _build_of_fla(placed: _Placed, options: dict[str, Any]) -> Any:
    """A model of fla; arguments of its layers that are keys of its configuration are copied."""
    _transformers()
    kind = _same(placed, "kind", _kind)
    if kind not in _OF_FLA or sys.platform != "linux":
        raise UserError(f"layer 0, {kind}, can't be exported; {_KNOWN}, on Linux")
    models: Any = import_module("fla.models")
    configuration = getattr(models, f"{_OF_FLA[kind]}Config")
    first = placed[0][1].layer
    for key in inspect.signature(configuration).parameters:
        name = _NAMED_OTHERWISE.get(key, key)
        if key not in options and hasattr(first, name):
            options[key] = _same([(place, one.layer) for place, one in placed], name, attrgetter(name))
    return getattr(models, f"{_OF_FLA[kind]}ForCausalLM")(configuration(**options))


def _transformers() -> Any:
    try:
        return import_module("transformers")
    except ImportError:
        raise missing_package("export", "transformers") from None


def _same(placed: _Placed, key: str, value: Callable[[Any], Any]) -> Any:
    """A value that all layers share; raises `UserError`, which names the layer, if one differs."""
    (first, one), *others = placed
    expected = value(one)
    for place, other in others:
        if (found := value(other)) != expected:
            raise UserError(
                f"layer {place} can't be exported: its {key} must be that of layer {first}, {expected}, got {found}"
            )
    return expected


def _eps(norm: nn.Module) -> float:
    if not hasattr(norm, "eps"):
        raise UserError(f"a model without norms can't be exported; {_KNOWN}")
    eps: float = norm.eps  # type: ignore[assignment]
    return eps


def _kind(module: Any) -> str:
    return type(module.layer if isinstance(module, FlaLayer) else module).__name__
