"""A batch of transcripts as tensors."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lit_retrieval.tasks import Transcripts


class Batch(NamedTuple):
    """`Transcripts` as tensors of the same names and shapes; ids are int64, authors int8."""

    tokens: Tensor
    author: Tensor
    length: Tensor
    prompt_length: Tensor
    answers: Tensor
    sizes: Tensor
    distances: Tensor
    kinds: Tensor

    def transcripts(self) -> Transcripts:
        """The same batch as arrays."""
        tokens, answers = (ids.cpu().numpy().astype(np.int32) for ids in (self.tokens, self.answers))
        author, length, prompt_length, sizes, distances, kinds = (
            field.cpu().numpy()
            for field in (self.author, self.length, self.prompt_length, self.sizes, self.distances, self.kinds)
        )
        return Transcripts(tokens, author, length, prompt_length, answers, sizes, distances, kinds)


def collate(transcripts: Transcripts) -> Batch:
    """The same batch as tensors."""
    return Batch(
        torch.from_numpy(transcripts.tokens.astype(np.int64)),
        torch.from_numpy(np.ascontiguousarray(transcripts.author)),
        torch.from_numpy(transcripts.length),
        torch.from_numpy(transcripts.prompt_length),
        torch.from_numpy(transcripts.answers.astype(np.int64)),
        torch.from_numpy(transcripts.sizes),
        torch.from_numpy(transcripts.distances),
        torch.from_numpy(transcripts.kinds),
    )
