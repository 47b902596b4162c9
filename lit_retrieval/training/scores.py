"""Teacher-forced and closed-loop scores, over all samples and by group."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from lit_retrieval.data import Batch
from lit_retrieval.decoding import UNDECIDED, Replies
from lit_retrieval.ops.half_precision import widen
from lit_retrieval.tasks import Task
from lit_retrieval.tasks.text import TextTask
from lit_retrieval.tasks.text.answers import f1
from lit_retrieval.training.score_name import Group, ScoreName
from lit_retrieval.vocabulary import PAD


class Measured(NamedTuple):
    """One quantity of each sample in a batch, or of each of its answers.

    Args:
        values: The quantity, `(batch, 1)` or `(batch, answers)`.
        weights: How much each sample counts in the mean, `(batch, 1)`.
    """

    values: Tensor
    weights: Tensor


def teacher_forced(logits: Tensor, batch: Batch) -> dict[str, Measured]:
    """Teacher-forced scores of the next token, on the model's own tokens only.

    Args:
        logits: The logits at `batch.positions`, `(targets, vocab_size)`.
        batch: The right transcripts.

    Returns:
        `loss` (nats per token) and `token_accuracy`, both averaged over tokens, and `exact_match`, the share of samples
        with every token right, which the paper's code reports for its retrieval setup.
    """
    targets, rows = batch.targets, batch.rows

    def sum_rows(values: Tensor) -> Tensor:
        zeros = torch.zeros(len(batch.tokens), dtype=torch.float32, device=values.device)
        return zeros.index_add(0, rows, values.float())[:, None]

    nats = F.cross_entropy(widen(logits), targets, reduction="none")
    tokens, right = sum_rows(torch.ones_like(rows)), sum_rows(logits.argmax(-1) == targets)
    return {
        "loss": Measured(sum_rows(nats) / tokens, tokens),
        "token_accuracy": Measured(right / tokens, tokens),
        "exact_match": Measured((right == tokens).float(), torch.ones_like(tokens)),
    }


def join(parts: Sequence[dict[str, Measured]]) -> dict[str, Measured]:
    """Join the measurements of consecutive parts of a batch."""
    return {
        name: Measured(
            torch.cat([part[name].values for part in parts]), torch.cat([part[name].weights for part in parts])
        )
        for name in parts[0]
    }


def given_answers(replies: Replies, batch: Batch) -> Tensor:
    """The answers of the replies, shaped like `batch.answers`; PAD where it has PAD."""
    answers = torch.full(batch.answers.shape, PAD)
    answers[:, : replies.answers.shape[1]] = torch.from_numpy(replies.answers)
    return answers.to(batch.answers.device)


def closed_loop(replies: Replies, batch: Batch, chances: Sequence[float]) -> dict[str, Measured]:
    """Closed-loop scores: the scores of the answers in decoded replies, whose searches were run.

    Args:
        replies: The decoded replies, one for each row.
        batch: The right transcripts.
        chances: Credit for an undecided answer in the paper's score, for each kind of problem.

    Returns:
        `closed_loop_accuracy`, the share of a sample's answers that are right; `all_right`, the share of samples in
        which all are; `undecided`, the share of answers not given within `max_new_tokens`; `paper_score`, in which an
        undecided answer scores like a guess (arXiv:2402.18510, section 6.1: 0.5); `searches` per sample, and how many
        of them were `timeouts`.
    """
    answers = given_answers(replies, batch)
    is_right, is_undecided = answers == batch.answers, answers == UNDECIDED
    chance = torch.tensor(chances, dtype=torch.float32, device=answers.device)[batch.kinds][:, None]
    counts = torch.from_numpy(np.stack([replies.num_searches, replies.num_timeouts], 1)).float().to(answers.device)
    values = {
        "closed_loop_accuracy": is_right.float(),
        "all_right": is_right.all(1, keepdim=True).float(),
        "undecided": is_undecided.float(),
        "paper_score": is_right + chance * is_undecided,
        "searches": counts[:, :1],
        "timeouts": counts[:, 1:],
    }
    weights = torch.ones(len(replies), 1, dtype=torch.float32, device=answers.device)
    return {name: Measured(value, weights) for name, value in values.items()}


def shared_words(replies: Replies, batch: Batch, task: Task) -> dict[str, Measured]:
    """For tasks in text, the `f1` of each answer's words against the right answer, by HotpotQA's rule; else nothing.

    An undecided answer scores 0.
    """
    if not isinstance(task, TextTask):
        return {}
    right = batch.transcripts()
    pairs = ((task.answer_texts(reply)[0], task.answer_texts(right.reply(row))[0]) for row, reply in enumerate(replies))
    shares = torch.tensor([[f1(given or "", true or "")] for given, true in pairs], dtype=torch.float32)
    shares = shares.to(batch.answers.device)
    return {"f1": Measured(shares, torch.ones_like(shares))}


def shares(batch: Batch) -> Tensor:
    """The weight of each answer, `(batch, answers)`; the weights of a sample sum to 1."""
    is_asked = (batch.answers != PAD).float()  # a share of booleans would have the trainer's precision
    return is_asked / is_asked.sum(1, keepdim=True)


def distance_powers(batch: Batch) -> Tensor:
    """Each answer's distance group, `(batch, answers)`: p for 2^p to 2^(p + 1) - 1 tokens, 0 without a distance."""
    return torch.log2(batch.distances.clamp(min=1).float()).floor().long()


class Scores(Metric):
    """Means of measured quantities, over all samples and by size, query distance and kind of problem.

    In each group, a sample's weight is the share of its answers that belong to the group. In a distance group, each
    answer has its own score. Distances are grouped by powers of two: `distance_4` is 4 to 7 tokens.

    Args:
        quantities: Names of the quantities.
        sizes: Sizes with separate scores, if there are several.
        longest_distance: Upper bound on the query distances; 0 if there are none.
        kinds: Names of the kinds of problems.
    """

    def __init__(
        self, quantities: Sequence[str], sizes: Sequence[int], longest_distance: int = 0, kinds: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.quantities = list(quantities)
        self.sizes = sorted(set(sizes)) if len(set(sizes)) > 1 else []
        self.kinds = list(kinds)
        self.num_distances = longest_distance.bit_length()
        self.groups = [
            Group(), *(Group("task", kind) for kind in kinds), *(Group("size", str(size)) for size in self.sizes),
            *(Group("distance", str(2**power)) for power in range(self.num_distances)),
        ]  # fmt: skip
        shape = (len(self.groups), len(self.quantities))
        self.totals: Tensor
        self.weights: Tensor
        self.add_state("totals", torch.zeros(shape, dtype=torch.float32), dist_reduce_fx="sum")
        self.add_state("weights", torch.zeros(shape, dtype=torch.float32), dist_reduce_fx="sum")

    @property
    def names(self) -> list[ScoreName]:
        """The names of all scores, without a split; `compute` leaves out those of empty groups."""
        return [ScoreName(quantity, group) for group in self.groups for quantity in self.quantities]

    def update(self, measured: dict[str, Measured], batch: Batch) -> None:
        """Add a batch."""
        share, members = shares(batch), self._members(batch).float()
        for name, (values, weights) in measured.items():
            quantity, counted = self.quantities.index(name), share * weights
            # A product of matrices would have the trainer's precision, in which 255.6 right samples of 256 are 256.
            self.totals[:, quantity] += (members * (counted * values.float())).sum((1, 2))
            self.weights[:, quantity] += (members * counted).sum((1, 2))

    def compute(self) -> dict[ScoreName, Tensor]:
        """The means by their names, without a split; empty groups are left out."""
        return {
            ScoreName(quantity, group): self.totals[row, column] / self.weights[row, column]
            for row, group in enumerate(self.groups)
            for column, quantity in enumerate(self.quantities)
            if self.weights[row, column] > 0
        }

    def _members(self, batch: Batch) -> Tensor:
        """Whether each answer belongs to each group, `(groups, batch, answers)`."""
        powers = distance_powers(batch)
        whole = torch.ones_like(batch.answers, dtype=torch.bool)
        return torch.stack(
            [
                whole,
                *((batch.kinds == kind)[:, None] & whole for kind in range(len(self.kinds))),
                *((batch.sizes == size)[:, None] & whole for size in self.sizes),
                *((powers == power) & (batch.distances > 0) for power in range(self.num_distances)),
            ]
        )
