"""Which auxiliary losses of layers a run adds, and errors for those that it can't add."""

from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import FlaLayer, has_auxiliary_loss
from lit_retrieval.models import MixerStack


def adds_losses(model: nn.Module, weight: float) -> bool:
    """Whether a layer has an auxiliary loss that counts."""
    mixers = model.mixers if isinstance(model, MixerStack) else ()
    return weight > 0 and any(has_auxiliary_loss(mixer) for mixer in mixers)


def check_losses(model: nn.Module, weight: float | None, passes_states: bool) -> None:
    """Check `model.auxiliary_loss_weight`, None if it is not set, and warn if a whole model's losses are left out.

    Raises `UserError` for a weight without a layer that has a loss, and for a loss with `model.first_state`.
    """
    adds = adds_losses(model, 1.0 if weight is None else weight)
    if weight and not adds:
        raise UserError(
            f"model.auxiliary_loss_weight is {weight:g}, but no layer of model.stages has an auxiliary loss; leave it "
            "out, or see docs/howto/mixer.md"
        )
    if adds and passes_states:
        raise UserError(
            "model.first_state adds no auxiliary loss, but a layer has one; leave it out, or set "
            "model.auxiliary_loss_weight to 0"
        )
    if not isinstance(model, MixerStack) and weight is None:
        left_out = [type(part).__name__ for part in model.modules() if _has_loss(part)]
        if left_out:
            rank_zero_warn(f"the auxiliary loss of {left_out[0]} is not added, since it is part of a whole model")


def _has_loss(part: nn.Module) -> bool:
    return has_auxiliary_loss(part) or FlaLayer.is_balanced(part)
