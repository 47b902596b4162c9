"""The linear recurrence of vectors in log2(time) rounds over the whole sequence, for any device and dtype."""

from torch import Tensor
from torch.nn import functional as F


def linear_rnn_doubling(u: Tensor, A: Tensor, state: Tensor | None = None) -> Tensor:
    """The recurrence by doubling (Hillis and Steele 1986); arguments and result as in `linear_rnn`.

    After a round with step s, position t holds the sum of A^j u_{t-j} over the last 2s steps.
    """
    h = u
    if state is not None:
        h = h + F.pad(_apply(A, state).unsqueeze(1), (0, 0, 0, u.shape[1] - 1))
    power, step = A, 1
    while step < u.shape[1]:
        h = h + F.pad(_apply(power, h[:, :-step]), (0, 0, step, 0))
        power, step = power @ power if A.dim() == 2 else power * power, 2 * step
    return h


def _apply(A: Tensor, h: Tensor) -> Tensor:
    return h * A if A.dim() == 1 else h @ A.t()
