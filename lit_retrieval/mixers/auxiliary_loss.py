"""Auxiliary losses: what a mixer may add to a run's loss, such as one that balances its memories."""

import torch
from torch import Tensor, nn

from lit_retrieval.mixers.mixer import State


def has_auxiliary_loss(mixer: nn.Module) -> bool:
    """Whether a mixer's `forward` takes `is_token`, and then returns an auxiliary loss too: see `Mixer`."""
    return bool(getattr(mixer, "has_auxiliary_loss", False))


def run_mixer(
    mixer: nn.Module, x: Tensor, state: State, is_token: Tensor | None
) -> tuple[Tensor, State, Tensor | None]:
    """The outputs of a mixer for `x (batch, time, hidden_size)`, its state, and its auxiliary loss, `()`.

    The loss is None without `is_token`, bool `(batch, time)`, and for a mixer that has none.
    """
    if is_token is None or not has_auxiliary_loss(mixer):
        y, new_state = mixer(x, state)
        return y, new_state, None
    y, new_state, loss = mixer(x, state, is_token)
    return y, new_state, loss


def balance_loss(logits: Tensor, num_chosen: int, is_token: Tensor) -> Tensor:
    """The load-balancing loss of a router, `()`: `num_chosen` if it uses all of its choices equally.

    n sum_i f_i p_i over its n choices: f_i is the share of tokens that go to choice i, and p_i the mean of its
    probability (Fedus et al. 2021, arXiv:2101.03961, equations 4 to 6).

    Args:
        logits: The router's, `(batch, time, choices)`; each token goes to the `num_chosen` largest.
        num_chosen: Choices of a token.
        is_token: Which ones count, bool `(batch, time)`.
    """
    probabilities = logits.softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    chosen = torch.zeros_like(probabilities).scatter(-1, probabilities.topk(num_chosen, -1).indices, 1)
    weights = (is_token.to(probabilities) / is_token.sum().clamp(min=1)).unsqueeze(-1)
    share, mean = ((one * weights).sum((0, 1)) for one in (chosen, probabilities))  # no product that autocast rounds
    return logits.shape[-1] * (share * mean).sum()
