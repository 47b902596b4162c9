"""Checks the classes of a run before its first step: a broken layer or task would train, and score garbage."""

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from lit_retrieval.mixers.checks import check_mixer
from lit_retrieval.models import MixerStack


def check_layers(model: nn.Module, device: torch.device) -> None:
    """Raise `UserError`, one line, if a mixer of the model breaks a cheap rule of `lit_retrieval.mixers check`.

    Copies of the mixers run on a few tokens on the device; weights and global random states stay as they are.
    """
    if isinstance(model, MixerStack):
        with isolate_rng():
            for mixer in {_describe(mixer): mixer for mixer in model.mixers}.values():
                check_mixer(mixer, model.embedding.shape[1], device)


def _describe(mixer: nn.Module) -> tuple[object, ...]:
    """What tells one mixer of a stack from the next: its classes, shapes and numbers, but not its index."""
    numbers = [
        (type(part), name, value)
        for part in mixer.modules()
        for name, value in vars(part).items()
        if isinstance(value, int | float | str) and name != "layer_idx"
    ]
    return (type(mixer), *numbers, *(parameter.shape for parameter in mixer.parameters()))
