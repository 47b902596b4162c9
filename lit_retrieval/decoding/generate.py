"""Greedy decoding of a batch of sessions, one step of the model for all of them at a time."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from lit_retrieval.decoding.session import Reply, Session
from lit_retrieval.mixers import select_rows
from lit_retrieval.vocabulary import PAD

# Rows that have finished leave the batch once they are an eighth of it: leaving copies the state of all that stay.
_LEAVE_AT = 8


class DecodableModel(Protocol):
    """What `generate` asks of a model: `SequenceModel`, or your own."""

    def __call__(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Read words.

        Args:
            tokens: Ids, `(batch, time)`.
            state: What an earlier call handed back; none before the first word.

        Returns:
            The logits of each next word, `(batch, time, vocab_size)`, and the state: tensors with the batch first, in
            nested tuples.
        """
        ...


@torch.inference_mode()
def generate(model: DecodableModel, sessions: Sequence[Session], device: torch.device | None = None) -> list[Reply]:
    """Decode every session to its end, greedily.

    The words that are certain to come first, as many as the shortest prompt has, are read in one call. From then on
    every row takes one word a step, its own prompt's, its retriever's or the model's choice, so rows of any lengths
    stand at the same position and no model needs a mask. Rows that have finished leave the batch.

    Args:
        model: The model; its state is carried from step to step.
        sessions: One for each row; they are used up.
        device: Where the model is.

    Returns:
        The reply of each session, in their order.
    """
    if not sessions:
        return []
    live = list(sessions)
    common = min(session.num_forced for session in live)
    tokens = torch.tensor([[session.step(PAD) for _ in range(common)] for session in live], device=device)
    logits, state = model(tokens)
    while True:
        choices = logits[:, -1].argmax(-1).tolist()
        pairs = zip(live, choices, strict=True)
        step = [PAD if session.is_finished else session.step(choice) for session, choice in pairs]
        stay = [row for row, session in enumerate(live) if not session.is_finished]
        if not stay:
            return [session.reply() for session in sessions]
        if (len(live) - len(stay)) * _LEAVE_AT >= len(live):
            state = select_rows(state, torch.tensor(stay, device=device))
            step, live = [step[row] for row in stay], [live[row] for row in stay]
        logits, state = model(torch.tensor(step, device=device)[:, None], state)
