"""A batch of transcripts as tensors."""

from collections.abc import Iterator
from dataclasses import fields
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from lit_retrieval.conversation import Authors, Reply
from lit_retrieval.tasks import Author, Transcripts
from lit_retrieval.tasks.random import Counts
from lit_retrieval.vocabulary import PAD, Ids

_IDS = ("tokens", "answers")
_PAD, _MODEL, _ASKED = int(Author.PAD), int(Author.MODEL), int(Author.ASKED)


class Batch(NamedTuple):
    """`Transcripts` as tensors of the same names and shapes; token ids are int64, authors int8.

    A model is trained and scored at `positions`, flat indices into `tokens[:, :-1]` of the tokens before those of MODEL
    and ASKED. `targets` has the right token at each: the model's next token, or the answer. Both are int64
    `(targets,)`. With `train_targets: every_token` they are all positions and next tokens. They are computed on the
    CPU, because the host would have to wait for a GPU.
    """

    tokens: Tensor
    author: Tensor
    length: Tensor
    prompt_length: Tensor
    answers: Tensor
    sizes: Tensor
    distances: Tensor
    kinds: Tensor
    positions: Tensor
    targets: Tensor

    @property
    def rows(self) -> Tensor:
        """The row of each target, `(targets,)`."""
        return self.positions // (self.tokens.shape[1] - 1)

    def answers_of(self, row: int) -> list[int]:
        """The right answers of a row, without padding."""
        return [answer for answer in self.answers[row].tolist() if answer != PAD]

    def reply(self, row: int) -> Reply:
        """A row as a right model would reply."""
        tokens, author = (one[row, : int(self.length[row])].tolist() for one in (self.tokens, self.author))
        return Reply(tokens, author, self.answers_of(row), 0)

    def split(self, most_tokens: int) -> Iterator["Batch"]:
        """Split into parts of whole rows, with at most `most_tokens` tokens each unless a single row has more."""
        count = max(1, most_tokens // self.tokens.shape[1])
        if count >= len(self.tokens):
            yield self
            return
        starts = range(0, len(self.tokens), count)
        width = self.tokens.shape[1] - 1
        firsts = torch.tensor([start * width for start in starts], device=self.positions.device)
        bounds = [*torch.searchsorted(self.positions, firsts).tolist(), len(self.positions)]
        for start, first, last in zip(starts, bounds[:-1], bounds[1:], strict=True):
            rows = {field.name: getattr(self, field.name)[start : start + count] for field in fields(Transcripts)}
            positions, targets = self.positions[first:last] - start * width, self.targets[first:last]
            yield Batch(**rows, positions=positions, targets=targets)

    def transcripts(self) -> Transcripts:
        """The same batch as arrays."""
        arrays = {field.name: getattr(self, field.name).cpu().numpy() for field in fields(Transcripts)}
        return Transcripts(**arrays | {name: arrays[name].astype(np.int32) for name in _IDS})


def collate(transcripts: Transcripts, every_token: bool = False) -> Batch:
    """The transcripts as a batch of tensors; with `every_token`, all next tokens are targets, whoever writes them."""
    arrays = {field.name: getattr(transcripts, field.name) for field in fields(Transcripts)}
    arrays |= {name: arrays[name].astype(np.int64) for name in _IDS}
    arrays["positions"], arrays["targets"] = _targets(transcripts, every_token)
    return Batch(**{name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()})


def _targets(transcripts: Transcripts, every_token: bool) -> tuple[Counts, Counts]:
    """The `positions` and `targets` of a batch."""
    author = transcripts.author[:, 1:]
    most = np.count_nonzero(author) if every_token else np.count_nonzero(author >= Author.MODEL)
    found = np.empty((2, most), np.int64)
    count = _find_targets(transcripts.tokens, transcripts.author, transcripts.answers, every_token, *found)
    return found[0, :count], found[1, :count]


@njit(cache=True)
def _find_targets(
    tokens: Ids, author: Authors, answers: Ids, every_token: bool, positions: Counts, targets: Counts
) -> int:
    """Write positions and targets into the arrays, as many as fit; returns their number."""
    rows, width = tokens.shape
    count = 0
    for row in range(rows):
        asked = 0
        for at in range(1, width):
            who = author[row, at]
            if who in (_MODEL, _ASKED) or (every_token and who != _PAD):
                positions[count], targets[count] = row * (width - 1) + at - 1, tokens[row, at]
                if who == _ASKED:
                    targets[count] = answers[row, asked]
                    asked += 1
                count += 1
    return count
