"""The linear recurrence of vectors in log2(time) rounds over the whole sequence, for any device and dtype."""

from torch import Tensor
from torch.nn import functional as F


def linear_rnn_doubling(u: Tensor, A: Tensor, state: Tensor | None = None) -> Tensor:
    """The recurrence by doubling (Hillis and Steele 1986); arguments and result as in `linear_rnn`.

    After a round with step s, position t holds what the last 2s steps add to it, and the power of A the product of
    their transitions.
    """
    h = u
    if state is not None:
        first = A[:, :1] if A.dim() == 3 else A
        h = h + F.pad(_apply(first, state.unsqueeze(1)), (0, 0, 0, u.shape[1] - 1))
    power, step = A, 1
    while step < u.shape[1]:
        later = power[:, step:] if A.dim() == 3 else power
        h = h + F.pad(_apply(later, h[:, :-step]), (0, 0, step, 0))
        power, step = _squared(power, step), 2 * step
    return h


def _apply(A: Tensor, h: Tensor) -> Tensor:
    return h @ A.t() if A.dim() == 2 else h * A


def _squared(power: Tensor, step: int) -> Tensor:
    """The transitions of twice as many steps."""
    if power.dim() == 3:
        return power * F.pad(power[:, :-step], (0, 0, step, 0), value=1.0)
    return power @ power if power.dim() == 2 else power * power
