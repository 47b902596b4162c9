"""Answers that stand beside the user's tokens: the model reads on, whatever it answers."""

import numpy as np
import torch

from lit_retrieval.conversation import Author, Replies
from lit_retrieval.decoding.generate import DecodableModel
from lit_retrieval.tasks import Transcripts
from lit_retrieval.vocabulary import PAD


@torch.inference_mode()
def answer_beside(model: DecodableModel, transcripts: Transcripts, device: torch.device | None = None) -> Replies:
    """The model's answers where rows ask for them, from one call on all of their tokens.

    Args:
        model: The model.
        transcripts: Rows with tokens of ASKED.
        device: The model's device.

    Returns:
        The reply of each row, with the row's own tokens.
    """
    positions = np.flatnonzero(transcripts.author[:, 1:] == Author.ASKED)
    tokens = torch.from_numpy(transcripts.tokens[:, :-1].astype(np.int64)).to(device)
    logits, _ = model(tokens, positions=torch.from_numpy(positions).to(device))
    answers, no_searches = transcripts.answers.copy(), np.zeros(len(transcripts), np.int64)
    answers[answers != PAD] = logits.argmax(-1).cpu().numpy()
    return Replies(
        transcripts.tokens, transcripts.author, transcripts.length, answers, no_searches, no_searches.copy()
    )  # fmt: skip
