"""Names of our layers' weights in models of transformers and fla."""

from collections.abc import Iterator
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import Attention, FlaLayer, SwiGLU
from lit_retrieval.models import SequenceModel

_HEAD = "lm_head.weight"


class Layout(NamedTuple):
    """The names of the weights in a kind of model.

    Args:
        embedding, final_norm: Names of these two weights.
        block: For each mixer of a block, the name of its norm and the prefix of its weights; {} is the block's number.
    """

    embedding: str
    final_norm: str
    block: tuple[tuple[str, str], ...]

    def places(self, num_mixers: int) -> Iterator[tuple[str, str]]:
        """The name of the norm and the prefix of the weights, mixer by mixer."""
        for place in range(num_mixers):
            block, part = divmod(place, len(self.block))
            norm, beginning = self.block[part]
            yield norm.format(block), beginning.format(block)


LLAMA = Layout(
    "model.embed_tokens.weight",
    "model.norm.weight",
    (
        ("model.layers.{}.input_layernorm.weight", "model.layers.{}.self_attn."),
        ("model.layers.{}.post_attention_layernorm.weight", "model.layers.{}.mlp."),
    ),
)
MAMBA = Layout(
    "backbone.embeddings.weight",
    "backbone.norm_f.weight",
    (("backbone.layers.{}.norm.weight", "backbone.layers.{}.mixer."),),
)
FLA = Layout(
    "model.embeddings.weight",
    "model.norm.weight",
    (
        ("model.layers.{}.attn_norm.weight", "model.layers.{}.attn."),
        ("model.layers.{}.mlp_norm.weight", "model.layers.{}.mlp."),
    ),
)


def weights_out(model: SequenceModel, layout: Layout) -> dict[str, Tensor]:
    """The weights of a model of ours under the names of a layout."""
    head = model.embedding if model.head is None else model.head
    weights = {layout.embedding: model.embedding, _HEAD: head}
    weights[layout.final_norm] = cast("Tensor", model.final_norm.weight)
    for (norm, beginning), mixer, own in zip(layout.places(len(model.mixers)), model.mixers, model.norms, strict=True):
        weights[norm] = cast("Tensor", own.weight)
        weights |= {f"{beginning}{name}": weight for name, weight in _out(mixer).items()}
    return {name: weight.detach() for name, weight in weights.items()}


def weights_in(model: SequenceModel, layout: Layout, weights: dict[str, Tensor]) -> None:
    """Copy the weights of another model to one of ours; raises `UserError` if a weight has no counterpart.

    Args:
        model: The model, which may have fewer tokens.
        layout: The names of `weights`.
        weights: All weights of the other model.
    """
    left, own = dict(weights), {}
    head = left.pop(_HEAD, None)
    for name, weight in {"embedding": left.pop(layout.embedding), **({} if head is None else {"head": head})}.items():
        own[name] = weight[: model.vocab_size]
    if model.head is None:
        own.pop("head", None)
    own["final_norm.weight"] = left.pop(layout.final_norm)
    for place, (norm, beginning) in enumerate(layout.places(len(model.mixers))):
        own[f"norms.{place}.weight"] = left.pop(norm)
        names = [name for name in left if name.startswith(beginning)]
        found = {name.removeprefix(beginning): left.pop(name) for name in names}
        own |= {f"mixers.{place}.{name}": weight for name, weight in _in(model.mixers[place], found).items()}
    there = model.state_dict()
    for name in sorted({*left, *(set(own) ^ set(there))}):
        raise UserError(f"{name} is a weight of one model only")
    for name, weight in own.items():
        if weight.shape != there[name].shape:
            raise UserError(f"{name} must be {tuple(there[name].shape)}, got {tuple(weight.shape)}")
    model.load_state_dict(own)


def _out(mixer: nn.Module) -> dict[str, Tensor]:
    """The weights of a mixer under their names in transformers or fla."""
    own = mixer.state_dict()
    if isinstance(mixer, Attention):
        rows = [heads * mixer.head_dim for heads in (mixer.num_heads, mixer.num_kv_heads, mixer.num_kv_heads)]
        q, k, v = own["qkv_proj.weight"].split(rows)
        q, k = (_regroup(one, mixer.head_dim, 2) for one in (q, k))
        return {"q_proj.weight": q, "k_proj.weight": k, "v_proj.weight": v, "o_proj.weight": own["out_proj.weight"]}
    if isinstance(mixer, SwiGLU):
        gate, up = own["gate_up_proj.weight"].chunk(2)
        return {"gate_proj.weight": gate, "up_proj.weight": up, "down_proj.weight": own["down_proj.weight"]}
    return {name.removeprefix("layer."): weight for name, weight in own.items()}


def _in(mixer: nn.Module, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `_out`; a weight without a counterpart keeps its name."""
    left = dict(theirs)
    if isinstance(mixer, Attention):
        q, k, v = (left.pop(f"{name}_proj.weight") for name in "qkv")
        q, k = (_regroup(one, mixer.head_dim, mixer.head_dim // 2) for one in (q, k))
        return {"qkv_proj.weight": torch.cat([q, k, v]), "out_proj.weight": left.pop("o_proj.weight"), **left}
    if isinstance(mixer, SwiGLU):
        return {"gate_up_proj.weight": torch.cat([left.pop(f"{name}_proj.weight") for name in ("gate", "up")]), **left}
    return {f"layer.{name}": weight for name, weight in left.items()} if isinstance(mixer, FlaLayer) else left


def _regroup(weight: Tensor, head_dim: int, step: int) -> Tensor:
    """Reorder the rows of each head: first every `step`-th from the first on, then from the second on, and so on.

    Rotary positions rotate pairs of elements. In our layers they are neighbors, in transformers half a head apart. A
    step of 2 converts ours to theirs, a step of `head_dim / 2` converts back.

    Args:
        weight: `(heads * head_dim, hidden_size)`.
        head_dim: Rows of a head.
        step: Divides `head_dim`.
    """
    return weight.view(-1, head_dim // step, step, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
