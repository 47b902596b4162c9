"""Pictures of attention weights and decays of a model's mixers on one row of tokens."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_retrieval.errors import one_line
from lit_retrieval.mixers import Inspectable
from lit_retrieval.models import MixerStack
from lit_retrieval.training.pictures import Picture, panels

_SIDE = 128  # pixels: the size to which a map is scaled
_COLUMNS = 4
_ATTENTION = "attention"


@torch.inference_mode()
def draw_mixers(model: MixerStack, tokens: Tensor, warn: Callable[[str], None]) -> dict[str, Picture]:
    """The maps that the mixers' `inspect` returns: one picture for each kind, such as `attention` and `decay`.

    In an attention map, each query's weights are divided by their largest; otherwise the first query, which has only
    one key, would outshine the others. Other maps are divided by their largest value. An `inspect` that fails is left
    out.

    Args:
        model: The model; mixers without an `inspect` are left out.
        tokens: One row of token ids, `(time,)`.
        warn: Called with a line about each `inspect` that fails.
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
        try:
            inspected = {kind: _check(values) for kind, values in mixer.inspect(seen[model.mixers[layer]]).items()}
        except Exception as error:  # any bug of the mixer's author: a picture must not end a run
            said = one_line(error)
            warn(f"layer {layer} is not drawn: {type(mixer).__name__}.inspect raised {type(error).__name__}: {said}")
            continue
        for kind, values in inspected.items():
            for head, one in enumerate(values):
                title = f"layer {layer}" + (f", head {head}" if len(values) > 1 else "")
                maps[kind].append(_scaled(title, one, kind == _ATTENTION))
    return {
        kind: panels(of_kind, _COLUMNS, "row's largest" if kind == _ATTENTION else "largest")
        for kind, of_kind in maps.items()
    }


def _check(values: Tensor) -> Tensor:
    """The values, if they are maps `(maps, rows, columns)`; else raises `ValueError`."""
    shape = tuple(values.shape)
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"inspect must return tensors of the shape (maps, rows, columns), got {shape}")
    return values.float()


def _scaled(title: str, values: Tensor, is_by_row: bool) -> tuple[str, npt.NDArray[np.floating]]:
    """A map scaled to at most 1, and its title with the largest value."""
    largest = values.amax(-1, keepdim=True) if is_by_row else values.amax()
    said = title if is_by_row else f"{title}, to {float(largest):.3g}"
    return said, _fit(values / largest.clamp(min=torch.finfo(torch.float32).tiny)).cpu().numpy()


def _fit(values: Tensor) -> Tensor:
    """A map `(rows, columns)` scaled down to sides of at most `_SIDE`, or up by whole factors.

    A pixel shows the largest of its values, so that a single token with all attention stays visible.
    """
    values = F.adaptive_max_pool2d(values[None], [min(_SIDE, side) for side in values.shape])[0]
    rows, columns = (max(1, _SIDE // side) for side in values.shape)
    return values.repeat_interleave(rows, 0).repeat_interleave(columns, 1)
