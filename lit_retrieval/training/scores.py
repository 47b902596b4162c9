"""What a run is judged by: two scores of every sample, teacher forced and closed loop, by problem size."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric

from lit_retrieval.data import Batch
from lit_retrieval.decoding import Reply
from lit_retrieval.decoding.session import UNDECIDED
from lit_retrieval.tasks import Author


class Measured(NamedTuple):
    """One quantity of each sample in a batch.

    Args:
        values: The quantity, `(batch,)`.
        weights: How much each sample counts in the mean, `(batch,)`.
    """

    values: Tensor
    weights: Tensor


def teacher_forced(logits: Tensor, batch: Batch) -> dict[str, Measured]:
    """Scores of the next word, on the words of the model alone, with everything before it as it should be.

    Args:
        logits: Of the word after each but the last, `(batch, time - 1, vocab_size)`.
        batch: The right transcripts.

    Returns:
        `loss` (nats a word) and `token_accuracy`, both averaged over words, and `exact_match`, the share of samples
        with every word right: what the paper's code reports for its retrieval setup.
    """
    targets, is_model = batch.tokens[:, 1:], batch.author[:, 1:] == Author.MODEL
    nats = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    is_right = logits.argmax(-1) == targets
    words = is_model.sum(1)
    return {
        "loss": Measured((nats * is_model).sum(1) / words, words),
        "token_accuracy": Measured((is_right & is_model).sum(1) / words, words),
        "exact_match": Measured((is_right | ~is_model).all(1).float(), torch.ones_like(words)),
    }


def closed_loop(replies: Sequence[Reply], batch: Batch, chance: float) -> dict[str, Measured]:
    """Scores of the answers that the model came to by itself, its searches run for real.

    Args:
        replies: What was decoded, one for each row.
        batch: The right transcripts.
        chance: What an undecided answer counts in the paper's score.

    Returns:
        `closed_loop_accuracy`, the share of answers that are right; `undecided`, the share not given within the budget;
        `paper_score`, where those count as a guess would (arXiv:2402.18510, section 6.1: 0.5); `searches`, a sample.
    """
    answers = torch.tensor([reply.answers for reply in replies], device=batch.answers.device)
    is_right, is_undecided = (answers == batch.answers).float().mean(1), (answers == UNDECIDED).float().mean(1)
    searches = torch.tensor([reply.num_searches for reply in replies], dtype=torch.float, device=answers.device)
    values = {
        "closed_loop_accuracy": is_right,
        "undecided": is_undecided,
        "paper_score": is_right + chance * is_undecided,
        "searches": searches,
    }
    return {name: Measured(value, torch.ones_like(value)) for name, value in values.items()}


class Scores(nn.Module):
    """Running means of measured quantities, of all samples and of those of each size.

    Args:
        quantities: Names of the quantities.
        sizes: Sizes that are reported apart, if there are several.
    """

    def __init__(self, quantities: Sequence[str], sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = sorted(set(sizes)) if len(set(sizes)) > 1 else []
        groups = ["", *(f"size_{size}/" for size in self.sizes)]
        self.means = nn.ModuleDict({group + name: MeanMetric() for group in groups for name in quantities})

    def update(self, measured: dict[str, Measured], sizes: Tensor) -> None:
        """Take a batch into account; `sizes (batch,)` are the problem sizes."""
        for name, (values, weights) in measured.items():
            self._update(name, values, weights)
            for size in self.sizes:
                if (rows := sizes == size).any():
                    self._update(f"size_{size}/{name}", values[rows], weights[rows])

    def _update(self, name: str, values: Tensor, weights: Tensor) -> None:
        mean = self.means[name]
        assert isinstance(mean, MeanMetric)
        mean.update(values, weights)
