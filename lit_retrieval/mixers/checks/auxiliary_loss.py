"""Rules of a mixer's auxiliary loss, which only some have."""

import inspect
from typing import Any

import torch
from torch import Tensor

from lit_retrieval.conformance import BrokenRuleError, NotApplicableError
from lit_retrieval.mixers.auxiliary_loss import has_auxiliary_loss
from lit_retrieval.mixers.checks.case import Case
from lit_retrieval.mixers.fla_layer import FlaLayer
from lit_retrieval.mixers.parallel import Parallel


def is_added(case: Case) -> str:
    """Given `is_token`, forward returns the same outputs and a finite loss with a gradient, in training mode too."""
    if not has_auxiliary_loss(case.mixer):
        inner = case.mixer.layer if isinstance(case.mixer, FlaLayer) else case.mixer
        if not isinstance(inner, Parallel) and "is_token" in inspect.signature(inner.forward).parameters:
            raise BrokenRuleError(
                "forward takes is_token, so its loss must be added; set has_auxiliary_loss = True in the class, and "
                "leave out past_key_values"
            )
        raise NotApplicableError("it has none")
    x = case.draw(2, 9)
    y, loss = _run(case, x, torch.ones_like(x[..., 0], dtype=torch.bool))
    case.compare(y, case.run(x)[0], "is_token must not change the outputs; only the loss may depend on it")
    with case.training():
        _, trained = _run(case, x, torch.ones_like(x[..., 0], dtype=torch.bool))
    weights = [one for one in case.mixer.parameters() if one.requires_grad]
    sources = [one for one in torch.autograd.grad(trained, weights, allow_unused=True) if one is not None]
    norm = torch.stack([one.float().norm() for one in sources]).norm().item() if sources else 0.0
    if not 0 < norm < float("inf"):
        raise BrokenRuleError(f"the auxiliary loss must have a finite gradient that is not zero, got norm {norm:.1e}")
    return f"{float(loss):.1e}, gradient of norm {norm:.1e}"


def leaves_out_padding(case: Case) -> str:
    """The loss depends neither on padding nor on the order of the rows."""
    if not has_auxiliary_loss(case.mixer):
        raise NotApplicableError("it has none")
    x, lengths = case.draw(3, 9), torch.tensor([[9], [4], [6]], device=case.weight.device)
    is_token = torch.arange(9, device=x.device) < lengths
    _, loss = _run(case, x, is_token)
    other = torch.where(is_token[..., None], x, 1 - 3 * x)
    shown = case.compare(
        _run(case, other, is_token)[1], loss, "the auxiliary loss must leave out padding, where is_token is False"
    )
    case.compare(
        _run(case, x.flip(0), is_token.flip(0))[1], loss, "the auxiliary loss must not depend on the order of the rows"
    )
    return shown


def _run(case: Case, x: Tensor, is_token: Tensor) -> tuple[Tensor, Tensor]:
    """The outputs and the auxiliary loss."""
    with torch.enable_grad():
        result: Any = case.mixer(x, None, is_token)
    parts = result if isinstance(result, tuple) else (result,)
    loss = parts[2] if len(parts) == 3 else None
    if not isinstance(loss, Tensor) or loss.shape or not loss.isfinite() or not loss.requires_grad:
        got = f"{tuple(loss.shape)}, {loss.flatten()[:1].tolist()}" if isinstance(loss, Tensor) else type(loss).__name__
        raise BrokenRuleError(
            "given is_token, forward must return (y, state, loss) with a finite loss of shape () that has a gradient, "
            f"got {got}"
        )
    return parts[0], loss
