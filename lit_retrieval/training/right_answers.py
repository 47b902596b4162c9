"""Which test samples were answered right."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lit_retrieval.conversation import Replies
from lit_retrieval.data import Batch
from lit_retrieval.files import write_atomically
from lit_retrieval.training.sample_callback import SampleCallback
from lit_retrieval.training.scores import given_answers
from lit_retrieval.training.sequence_module import SequenceModule
from lit_retrieval.vocabulary import PAD

NAME = "right_answers.npz"


class RightAnswers(SampleCallback):
    """Writes `right_answers.npz` into the run's folder when `test` ends, so that two models can be compared in pairs.

    Its arrays are in the order of the test samples, `(samples,)`: `right`, the number of right answers in the closed
    loop, `asked`, the number of answers, and `sizes`, the size of the problem.
    """

    def keep(self, module: SequenceModule, batch: Batch, replies: Replies, indices: list[int]) -> list[Any]:
        """The three numbers of each row."""
        is_asked = batch.answers != PAD
        is_right = is_asked & (given_answers(replies, batch) == batch.answers)
        counts: list[Any] = torch.stack([is_right.sum(1), is_asked.sum(1), batch.sizes], 1).tolist()
        return counts

    def write(self, folder: Path, kept: list[Any]) -> None:
        """Write the file."""
        right, asked, sizes = np.array(kept, np.int32).T
        with write_atomically(folder / NAME, "wb") as file:
            np.savez_compressed(file, right=right, asked=asked, sizes=sizes)
