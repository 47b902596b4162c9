"""Checks a mixer: all rules for a report, or the cheap ones before a training run."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain

import torch
from torch import nn

from lit_retrieval.conformance import Rule, Verdict, judge, path_of, refuse_broken
from lit_retrieval.errors import UserError
from lit_retrieval.mixers.checks.along_time import is_causal_over
from lit_retrieval.mixers.checks.case import Case
from lit_retrieval.mixers.checks.gradients import find_unused
from lit_retrieval.mixers.checks.table import RULES
from lit_retrieval.mixers.fla_layer import FlaLayer, make_mixer
from lit_retrieval.mixers.mixer import MixerFactory

_MOVED = 0.02  # a usual standard deviation of initial weights
_LONGEST, _MOST_TOKENS = 130, 1024  # the longest sequence in the rules about time, and the longest in any check


def check_mixer(mixer: nn.Module, hidden_size: int, length: int = 0) -> None:
    """Raise a one-line `UserError` if the mixer, in evaluation mode, breaks a cheap rule.

    Causality is also checked on one sequence of `length` tokens, if that is longer than the sequences of the rules.
    This takes about 50 runs on a few tokens, on the mixer's device, in the caller's autocast and with
    `constants_moved`. The mixer may draw random numbers, so the caller must save the global random state.
    """
    name = _name(mixer)
    with constants_moved(mixer):
        case = Case.of(mixer, hidden_size)
        refuse_broken(RULES, case, name, f"python -m lit_retrieval.mixers check {name}")
        if length > _LONGEST:
            (verdict,) = judge([Rule("causal", partial(is_causal_over, min(length, _MOST_TOKENS)))], case)
            if verdict.result == "FAIL":
                raise UserError(f"{name} breaks the rule `causal`: {verdict.shown}")


def describe_unused(mixer: nn.Module, hidden_size: int) -> str:
    """A warning that names the parameters without a gradient; empty if all have one, or if the mixer fails."""
    try:
        names = find_unused(Case.of(mixer, hidden_size))
    except Exception:  # a mixer may raise anything; the first training step will show it
        return ""
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    fix = "if forward never uses it, or only under detach or torch.no_grad, it will not be trained"
    return f"{_name(mixer)}: {names[0]}{others} got no gradient from a few random tokens; {fix}" if names else ""


def report(factory: MixerFactory, hidden_size: int, layer_idx: int, device: str = "cpu") -> Iterator[Verdict]:
    """The verdicts of all rules on the mixer that a factory makes, checked with `constants_moved`."""
    try:
        mixer = make_mixer(factory, hidden_size, layer_idx)
    except UserError as error:
        return iter([Verdict("built", "FAIL", str(error))])
    for parameter in constants(mixer):
        _move(parameter)
    case = Case.of(mixer.to(device).eval(), hidden_size, lambda: make_mixer(factory, hidden_size, layer_idx))
    built = Verdict("built", "pass", f"{sum(one.numel() for one in mixer.parameters()):,} parameters")
    return chain([built], judge(RULES, case))


@contextmanager
def constants_moved(module: nn.Module) -> Iterator[None]:
    """A block in which constant trained parameters (all elements equal) get a little noise; restored after it.

    Without it, an output projection that starts at zero, as in RWKV-7, would hide the rest of the module.
    """
    kept = [(parameter, parameter.detach().clone()) for parameter in constants(module)]
    for parameter, _ in kept:
        _move(parameter)
    try:
        yield
    finally:
        for parameter, before in kept:
            parameter.data.copy_(before)


def constants(module: nn.Module) -> list[nn.Parameter]:
    """The trained parameters whose elements are all equal."""
    trained = [one for one in module.parameters() if one.requires_grad and one.numel()]
    return [one for one in trained if bool((one == one.flatten()[0]).all())]


def _name(mixer: nn.Module) -> str:
    return path_of(mixer.layer if isinstance(mixer, FlaLayer) else mixer)


def _move(parameter: nn.Parameter) -> None:
    drawn = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    parameter.data.add_(_MOVED * drawn.to(parameter))
