"""Rules about training: gradients reach the inputs, every weight and the initial state."""

from contextlib import nullcontext

import torch
from torch import Tensor

from lit_retrieval.conformance import BrokenRuleError, NotApplicableError
from lit_retrieval.mixers.auxiliary_loss import run_mixer
from lit_retrieval.mixers.checks.case import Case
from lit_retrieval.mixers.mixer import tensors_of

_TIME = 20
_LONG = 150  # as in the other checks before a run


def reach_the_inputs(case: Case) -> str:
    """The gradient of the inputs is finite, and not zero."""
    x = case.draw(2, _TIME).requires_grad_()
    (gradient,) = _gradients(case, x, (), [x])
    norm = float(gradient.norm())
    if not 0 < norm < float("inf"):
        raise BrokenRuleError(f"the gradient of the inputs must be finite and not zero, got norm {norm:.1e}")
    return f"norm {norm:.1e}"


def reach_every_parameter(case: Case) -> str:
    """The gradient of every trained parameter is finite, and not zero."""
    named = {name: one for name, one in case.mixer.named_parameters() if one.requires_grad}
    if not named:
        raise NotApplicableError("it has no trained parameters")
    gradients = _gradients(case, case.draw(2, _TIME), (), list(named.values()))
    norms = {name: float(one.norm()) for name, one in zip(named, gradients, strict=True)}
    if bad := [name for name, norm in norms.items() if not 0 < norm < float("inf")]:
        raise BrokenRuleError(
            f"{bad[0]} must have a finite gradient that is not zero, got norm {norms[bad[0]]:.1e}; use it in forward, "
            "or set requires_grad=False"
        )
    return f"norms {min(norms.values()):.1e} to {max(norms.values()):.1e} of {len(norms)} weights"


def reach_the_first_state(case: Case) -> str:
    """Gradients flow through a passed state to the tokens before it."""
    before = case.draw(2, 5, seed=1).requires_grad_()
    _, state = case.run(before)
    if not any(one.numel() and (one.is_floating_point() or one.is_complex()) for one in tensors_of(state)):
        raise NotApplicableError("its state has no elements")
    y, _ = case.mixer(case.draw(2, _TIME), state)
    loss = _loss(y)
    (gradient,) = torch.autograd.grad(loss, [before], allow_unused=True) if loss.requires_grad else (None,)
    if gradient is None or not gradient.isfinite().all() or not gradient.any():
        raise BrokenRuleError("gradients must flow through a state that is handed on; don't detach it")
    return f"norm {float(gradient.norm()):.1e} at earlier tokens"


def agree_in_pieces(case: Case) -> str:
    """Gradients of a sequence in pieces equal those of the whole sequence."""
    x = case.draw(2, _TIME).requires_grad_()
    named = {"inputs": x, **{name: one for name, one in case.mixer.named_parameters() if one.requires_grad}}
    whole = _gradients(case, x, (), list(named.values()))
    pieces = _gradients(case, x, (7, 1, 12), list(named.values()))
    shown, floor = "", 0.01 * max(float(one.abs().max()) for one in whole)  # a key bias has only rounding errors
    for name, actual, expected in zip(named, pieces, whole, strict=True):
        what = f"the gradient of {name} must be the same in pieces of 7, 1 and 12 tokens; don't detach the state"
        shown = case.compare(actual, expected, what, floor=floor)
    return shown


@torch.enable_grad()
def find_unused(case: Case) -> list[str]:
    """The trained parameters that neither the outputs nor the auxiliary loss use, in training and evaluation mode."""
    unused = {name: one for name, one in case.mixer.named_parameters() if one.requires_grad}
    for mode in (case.training, nullcontext):  # some use a parameter in one mode only, or only sometimes
        if not unused:
            break
        x = case.draw(2, _LONG)
        with mode():
            y, _, loss = run_mixer(case.mixer, x, None, torch.ones_like(x[..., 0], dtype=torch.bool))
            total = y.sum() if loss is None else y.sum() + loss
            if total.requires_grad:
                found = torch.autograd.grad(total, list(unused.values()), allow_unused=True)
                unused = {name: unused[name] for name, one in zip([*unused], found, strict=True) if one is None}
    return list(unused)


def _gradients(case: Case, x: Tensor, lengths: tuple[int, ...], sources: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(_loss(case.run(x, lengths)[0]), sources, materialize_grads=True)


def _loss(y: Tensor) -> Tensor:
    """A weighted sum of `y`, with different weights for all elements."""
    return (y * torch.linspace(-1, 2, y.numel(), dtype=y.dtype, device=y.device).view(y.shape)).sum()
