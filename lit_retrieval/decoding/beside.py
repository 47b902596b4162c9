"""Answers beside the user's tokens: the model's answers are scored, but not added to the context."""

import numpy as np
import torch

from lit_retrieval.conversation import UNDECIDED, Author, Replies
from lit_retrieval.decoding.generate import DecodableModel
from lit_retrieval.tasks import Transcripts
from lit_retrieval.vocabulary import PAD

_MOST_LOGITS = 2**23  # of the rows that are read at a time; 32 MiB in float32, as in the loss


@torch.inference_mode()
def answer_beside(
    model: DecodableModel, transcripts: Transcripts, vocab_size: int, device: torch.device | None = None
) -> Replies:
    """The model's answers at the positions of ASKED; each call of the model reads whole rows.

    A call reads as many rows as have 32 MiB of logits (at least one row), so memory does not grow with rows times
    answers times vocabulary size.

    Args:
        model: The model.
        transcripts: Rows with tokens of ASKED.
        vocab_size: Number of logits per answer.
        device: The model's device.

    Returns:
        The reply of each row, with the row's tokens; an answer `<pad>` counts as UNDECIDED.
    """
    is_asked = transcripts.author[:, 1:] == Author.ASKED
    tokens = torch.from_numpy(transcripts.tokens[:, :-1].astype(np.int64)).to(device)
    rows = max(1, _MOST_LOGITS // (vocab_size * int(is_asked.sum(1).max())))
    given = []
    for start in range(0, len(tokens), rows):
        positions = torch.from_numpy(np.flatnonzero(is_asked[start : start + rows]))
        logits, _ = model(tokens[start : start + rows], positions=positions.to(device))
        given.append(logits.argmax(-1).cpu().numpy())
    answers, no_searches = transcripts.answers.copy(), np.zeros(len(transcripts), np.int64)
    chosen = np.concatenate(given)
    answers[answers != PAD] = np.where(chosen == PAD, UNDECIDED, chosen)
    return Replies(
        transcripts.tokens, transcripts.author, transcripts.length, answers, no_searches, no_searches.copy()
    )  # fmt: skip
