"""Cross-entropy of many tokens without all their logits in memory at once."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lit_retrieval.ops.half_precision import widen

_MOST_LOGITS = 2**23  # at once; 32 MiB in float32


def sum_loss(
    predict: Callable[[Tensor], Tensor], hidden: Tensor, targets: Tensor, vocab_size: int, counts_right: bool
) -> tuple[Tensor, Tensor]:
    """Sum the cross-entropy of the next tokens, and count the right predictions (the most likely token is the target).

    Logits of more than 32 MiB are computed in pieces, and recomputed in the backward pass, so memory does not grow with
    tokens times vocabulary size. Losses of half-precision logits are summed in float32.

    Args:
        predict: Computes logits `(tokens, vocab_size)` from `hidden`.
        hidden: `(tokens, hidden_size)`.
        targets: The right next tokens, `(tokens,)`.
        vocab_size: Logits per token.
        counts_right: Whether to count; if not, the count is 0.

    Returns:
        The loss in nats and the count, both `()`.
    """

    def piece(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = predict(hidden)
        right = (logits.detach().argmax(-1) == targets).sum() if counts_right else torch.zeros((), device=logits.device)
        return F.cross_entropy(widen(logits), targets, reduction="sum"), right

    size = max(1, _MOST_LOGITS // vocab_size)
    if len(hidden) <= size:
        return piece(hidden, targets)
    parts = [
        checkpoint(piece, *one, use_reentrant=False, preserve_rng_state=False)
        for one in zip(torch.split(hidden, size), torch.split(targets, size), strict=True)
    ]
    nats, right = zip(*parts, strict=True)
    return torch.stack(nats).sum(), torch.stack(right).sum()
