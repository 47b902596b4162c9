"""Checks a mixer: all rules for a report, or the cheap ones before a training run."""

from collections.abc import Iterator
from itertools import chain

import torch
from torch import nn

from lit_retrieval.conformance import Verdict, judge, path_of, refuse_broken
from lit_retrieval.errors import UserError
from lit_retrieval.mixers.checks.case import Case
from lit_retrieval.mixers.checks.table import RULES
from lit_retrieval.mixers.fla_layer import FlaLayer, make_mixer
from lit_retrieval.mixers.mixer import MixerFactory

_MOVED = 0.02  # the standard deviation of usual first weights


def check_mixer(mixer: nn.Module, hidden_size: int) -> None:
    """Raise `UserError`, one line, if the mixer, in evaluation mode, breaks a cheap rule.

    Some 40 runs on a few tokens, on the mixer's device and in the caller's autocast. The caller keeps the global random
    state, which the mixer may draw from.
    """
    name = path_of(mixer.layer if isinstance(mixer, FlaLayer) else mixer)
    refuse_broken(RULES, Case(mixer, hidden_size), name, f"python -m lit_retrieval.mixers check {name}")


def report(factory: MixerFactory, hidden_size: int, layer_idx: int, device: str = "cpu") -> Iterator[Verdict]:
    """The verdicts of all rules on the mixer that a factory makes; weights that are all equal are moved a little.

    Where an output projection begins with zeros, as in RWKV-7, nothing of the mixer would be seen.
    """
    try:
        mixer = make_mixer(factory, hidden_size, layer_idx)
    except UserError as error:
        return iter([Verdict("built", "FAIL", str(error))])
    move_constant_weights(mixer)
    case = Case(mixer.to(device).eval(), hidden_size, lambda: make_mixer(factory, hidden_size, layer_idx))
    built = Verdict("built", "pass", f"{sum(one.numel() for one in mixer.parameters()):,} parameters")
    return chain([built], judge(RULES, case))


@torch.no_grad()
def move_constant_weights(mixer: nn.Module) -> None:
    """Add a little noise to each parameter whose elements are all equal."""
    generator = torch.Generator().manual_seed(0)
    for parameter in mixer.parameters():
        if parameter.numel() and (parameter == parameter.flatten()[0]).all():
            parameter.add_(_MOVED * torch.randn(parameter.shape, generator=generator).to(parameter))
