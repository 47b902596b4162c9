"""Pictures of what the mixers of a model do with one row of tokens."""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_retrieval.mixers import Inspectable
from lit_retrieval.models import MixerStack
from lit_retrieval.training.pictures import Picture, panels

_SIDE = 128  # pixels: the size to which a map is scaled
_COLUMNS = 4


@torch.inference_mode()
def draw_mixers(model: MixerStack, tokens: Tensor) -> dict[str, Picture]:
    """The maps that the mixers' `inspect` returns: one picture for each kind, such as `attention` and `decay`.

    Args:
        model: The model; mixers without an `inspect` are left out.
        tokens: One row of token ids, `(time,)`.
    """
    seen: dict[nn.Module, Tensor] = {}
    layers = {layer: mixer for layer, mixer in enumerate(model.mixers) if isinstance(mixer, Inspectable)}

    def note(mixer: nn.Module, arguments: tuple[Any, ...]) -> None:
        seen[mixer] = arguments[0]

    hooks = [model.mixers[layer].register_forward_pre_hook(note) for layer in layers]
    try:
        model(tokens[None])
    finally:
        for hook in hooks:
            hook.remove()
    maps = defaultdict(list)
    for layer, mixer in layers.items():
        for kind, values in mixer.inspect(seen[model.mixers[layer]]).items():
            for head, one in enumerate(values.float()):
                title = f"layer {layer}" + (f", head {head}" if len(values) > 1 else "")
                maps[kind].append((title, _fit(one).cpu().numpy()))
    return {kind: panels(of_kind, _COLUMNS) for kind, of_kind in maps.items()}


def _fit(values: Tensor) -> Tensor:
    """A map `(rows, columns)` scaled down to sides of at most `_SIDE`, or up by whole factors.

    Of the values that share a pixel, the largest is kept: a single token with all attention stays visible.
    """
    values = F.adaptive_max_pool2d(values[None], [min(_SIDE, side) for side in values.shape])[0]
    rows, columns = (max(1, _SIDE // side) for side in values.shape)
    return values.repeat_interleave(rows, 0).repeat_interleave(columns, 1)
