"""Loads a pretrained model as layers of this package."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from inspect import getsource
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn

from lit_retrieval.conformance import describe_error
from lit_retrieval.errors import UserError
from lit_retrieval.mixers import Attention, Mamba, MixerFactory, SlidingWindowAttention, SwiGLU, make_mixer
from lit_retrieval.mixers.checks.case import relative_difference
from lit_retrieval.models import SequenceModel, Stage
from lit_retrieval.pretrained.folder import ALLOWED, TIME, check_tokens, check_weights, random_tokens, read_model
from lit_retrieval.pretrained.layout import FLA, LLAMA, MAMBA, Layout, weights_in
from lit_retrieval.ranges import check_choice

_WIDEST, _SHORT = 512, 8  # the widest window that is compared unchanged, and the length of shortened ones
Trained = Literal["all", "replaced"]
_EPS = ("rms_norm_eps", "layer_norm_epsilon", "norm_eps")  # names of the same key in several configurations
_INSTEAD = "use lit_retrieval.pretrained.Folder, which runs any model as it is"


class Layers:
    """A pretrained model as layers of this package, each of which can be replaced by another mixer.

    LLaMA, Mistral and Ministral become Attention or SlidingWindowAttention and SwiGLU. Mamba becomes Mamba. GLA,
    GatedDeltaNet, DeltaNet, RetNet and others of fla become fla's layer and SwiGLU. When loaded, the logits are
    compared in float32 with those of transformers or fla; a model that differs is refused.

    Args:
        folder: The model's folder, as written by save_pretrained.
        replace: Mixers, by class_path, that replace the attention or recurrence of layers, by layer number from 0. A
            mixer with weights of the same names and shapes starts with those of the layer.
        train: Weights to train: all, or only those of the replaced layers and their norms.
        sha256: The sha256 of the weights, set by the command; other weights are refused.
    """

    def __init__(
        self,
        folder: Path,
        replace: dict[int, MixerFactory] | None = None,
        train: Trained = "all",
        sha256: str | None = None,
    ) -> None:
        check_choice("train", train, get_args(Trained), "model.pretrained.init_args")
        self.folder = Path(folder)
        self.replace = replace or {}
        self.train = train
        self.sha256 = sha256
        if train == "replaced" and not self.replace:
            raise UserError("there is nothing to train; set model.pretrained.init_args.replace, or train to all")

    def load(self, *, vocab_size: int) -> nn.Module:
        """Load the model; raises `UserError` if it can't be built of our layers, or has fewer tokens."""
        check_weights(self.folder, self.sha256)
        source = read_model(self.folder, torch.float32)
        check_tokens(source, vocab_size, self.folder)
        model, layout = as_layers(source, vocab_size)
        size = len(layout.block)
        if wrong := [layer for layer in self.replace if not 0 <= layer < len(model.mixers) // size]:
            last = len(model.mixers) // size - 1
            raise UserError(f"replace must have layers from 0 to {last}, got {wrong[0]}; set model.pretrained")
        if self.train == "replaced":
            model.requires_grad_(False)
        for layer, factory in self.replace.items():
            place = layer * size
            mixer = make_mixer(factory, model.embedding.shape[1], place)
            _begin_as(mixer, model.mixers[place])
            model.mixers[place] = mixer
            model.norms[place].requires_grad_(True)
        return model.train()


def as_layers(source: Any, vocab_size: int) -> tuple[SequenceModel, Layout]:
    """Convert a model of transformers or fla to one of ours with the same logits; returns it and its layout.

    Raises `UserError` if a layer has no counterpart here, or the logits differ.
    """
    weights, name = source.state_dict(), type(source).__name__
    layout = next((one for one in (LLAMA, MAMBA, FLA) if one.embedding in weights), None)
    blocks = source.config.get_text_config().num_hidden_layers
    missing = "" if layout is None else _missing(layout, blocks, weights)
    if layout is None or missing:
        said = f"it has no {missing or LLAMA.embedding}"
        raise UserError(f"{name} can't be built of our layers: {said}; {_INSTEAD}")
    head = source.get_output_embeddings().weight
    is_tied = head.data_ptr() == source.get_input_embeddings().weight.data_ptr()
    eps = next((getattr(source.config, key) for key in _EPS if hasattr(source.config, key)), None)
    try:
        model = SequenceModel(
            vocab_size, source.config.hidden_size, list(_stages(source, layout)), "learned", norm_eps=eps,
            head=None if is_tied else "untied",
        )  # fmt: skip
        weights_in(model, layout, weights)
    except (AttributeError, KeyError, UserError) as error:  # of a model with other parts
        said = str(error) if isinstance(error, UserError) else describe_error(error)
        raise UserError(f"{name} can't be built of our layers: {said}; {_INSTEAD}") from None
    model.most_places = getattr(source.config, "max_position_embeddings", None) if layout is LLAMA else None
    difference = compare(model.eval(), source.eval())
    if not difference <= ALLOWED:
        raise UserError(f"{name} built of our layers differs by {difference:.1e} of the largest logit; {_INSTEAD}")
    return model, layout


@torch.no_grad()
def compare(model: SequenceModel, other: Any) -> float:
    """The largest difference between the last logits of our model and another one, as a share of the largest logit.

    The text is longer than a window, so that a wrong window is noticed. Very wide windows, which would take minutes,
    are shortened here.

    Args:
        model: Ours, in evaluation mode.
        other: A causal language model of transformers or fla, with as many tokens or more.
    """
    with _short_windows(model, other) as window:
        tokens = random_tokens(model.vocab_size, TIME + window)
        last = torch.arange(tokens.numel()).view(tokens.shape)[:, window:].flatten()
        theirs = other(input_ids=tokens, use_cache=False, logits_to_keep=TIME).logits[:, -TIME:, : model.vocab_size]
        return relative_difference(model(tokens, positions=last)[0], theirs.flatten(0, 1))


@contextmanager
def _short_windows(model: SequenceModel, other: Any) -> Iterator[int]:
    """A block with windows above `_WIDEST` tokens shortened to about `_SHORT`, still distinct; yields the longest."""
    holders = [(mixer, "window") for mixer in model.mixers if isinstance(mixer, SlidingWindowAttention)]
    if getattr(other.config, "sliding_window", None):
        holders.append((other.config, "sliding_window"))
    before = [getattr(*holder) for holder in holders]
    longest = max(before, default=0)
    short = longest if longest <= _WIDEST else _SHORT
    try:
        for holder, window in zip(holders, before, strict=True):
            setattr(*holder, max(1, window - longest + short))
        yield short
    finally:
        for holder, window in zip(holders, before, strict=True):
            setattr(*holder, window)


def _missing(layout: Layout, blocks: int, weights: dict[str, Any]) -> str:
    """The first name of a norm, or prefix of a mixer's weights, that is missing; empty if none is."""
    for norm, beginning in layout.places(blocks * len(layout.block)):
        if norm not in weights or not any(name.startswith(beginning) for name in weights):
            return norm if norm not in weights else f"{beginning}weight"
    return ""


def _stages(source: Any, layout: Layout) -> Iterator[Stage]:
    """The mixers, block by block; for models of fla they are fla's own layers."""
    config = source.config
    if layout is MAMBA:
        options = {
            "state_dim": config.state_size, "expand": int(config.expand), "conv_kernel": config.conv_kernel,
            "dt_rank": int(config.time_step_rank), "bias": config.use_bias, "conv_bias": config.use_conv_bias,
        }  # fmt: skip
        yield Stage([partial(Mamba, **options)], config.num_hidden_layers)
        return
    for block in source.model.layers:
        mixer = _attention(config, block.self_attn) if layout is LLAMA else partial(_taken, block.attn)
        yield Stage([mixer, partial(SwiGLU, intermediate_size=len(block.mlp.gate_proj.weight))])


def _taken(layer: nn.Module, *, hidden_size: int, layer_idx: int) -> nn.Module:
    """Return the existing `layer`; the sizes are not used."""
    return layer


def _attention(config: Any, layer: nn.Module) -> MixerFactory:
    """The attention of a layer of a LLaMA, or of its relatives with windows: Ministral's have it, Mistral's read it."""
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") != "default":
        raise UserError(f"rope_type must be default, got {rope.get('rope_type')}")
    heads = config.num_attention_heads
    if (size := getattr(config, "head_dim", None) or config.hidden_size // heads) * heads != config.hidden_size:
        raise UserError(f"head_dim must be {config.hidden_size} / {heads}, got {size}")
    options = {"num_heads": heads, "num_kv_heads": config.num_key_value_heads, "rope_base": float(rope["rope_theta"])}
    reads = "sliding_window" in getsource(type(layer).forward)
    window = getattr(layer, "sliding_window", getattr(config, "sliding_window", None)) if reads else None
    if window is None:
        return partial(Attention, **options)
    return partial(SlidingWindowAttention, window=int(window), **options)


def _begin_as(mixer: nn.Module, other: nn.Module) -> None:
    """Copy the weights of another mixer to a mixer if they have the same names and shapes."""
    own, given = ({name: one.shape for name, one in module.state_dict().items()} for module in (mixer, other))
    if own == given:
        mixer.load_state_dict(other.state_dict())
