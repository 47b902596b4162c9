"""Checks the classes of a run before its first step: a broken layer or task would train, and score garbage."""

from collections.abc import Iterable

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from lit_retrieval.data import TranscriptData
from lit_retrieval.mixers.checks import check_mixer
from lit_retrieval.models import MixerStack
from lit_retrieval.tasks.checks import check_task


def check_classes(model: nn.Module, data: TranscriptData, device: torch.device) -> None:
    """Raise `UserError`, one line, if a mixer or the task breaks a cheap rule of the checks of mixers and tasks.

    Copies of the mixers run on a few tokens on the device; weights and global random states stay as they are.
    """
    with isolate_rng():
        check_task(data.task, data.regime, data.sizes)
        if isinstance(model, MixerStack):
            for mixer in distinct(model.mixers):
                check_mixer(mixer, model.embedding.shape[1], device)


def distinct(mixers: Iterable[nn.Module]) -> list[nn.Module]:
    """One mixer of each kind: those that differ in their weights and their index alone are of one kind."""
    return list({_describe(mixer): mixer for mixer in mixers}.values())


def _describe(mixer: nn.Module) -> tuple[object, ...]:
    """What tells one mixer of a stack from the next: its classes, shapes and numbers, but not its index."""
    numbers = [
        (type(part), name, value)
        for part in mixer.modules()
        for name, value in vars(part).items()
        if isinstance(value, int | float | str) and name != "layer_idx"
    ]
    return (type(mixer), *numbers, *(parameter.shape for parameter in mixer.parameters()))
