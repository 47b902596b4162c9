"""Greedy decoding of a batch of conversations, one step of the model for all of them at a time."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from lit_retrieval.conversation import Conversation, Reply
from lit_retrieval.mixers import select_rows
from lit_retrieval.vocabulary import PAD

# Finished rows leave the batch once they are an eighth of it, since that copies the state of the others.
_LEAVE_AT = 8


class DecodableModel(Protocol):
    """A model that `generate` can run: `SequenceModel`, or your own."""

    def __call__(self, tokens: Tensor, state: Any = None, positions: Tensor | None = None) -> tuple[Tensor, Any]:
        """Read tokens.

        Args:
            tokens: Token ids, `(batch, time)`.
            state: What an earlier call returned; before the first token None.
            positions: Where to predict the next token, indices into the flattened `(batch * time)`, int64
                `(selected,)`; everywhere if absent.

        Returns:
            The logits of the next token, `(batch, time, vocab_size)`, or `(selected, vocab_size)` at `positions`; and
            the state: tensors with the batch first, in nested tuples.
        """
        ...


@torch.inference_mode()
def generate(
    model: DecodableModel, conversations: Sequence[Conversation], device: torch.device | None = None
) -> list[Reply]:
    """Continue every conversation to its end, greedily.

    As many tokens as the shortest prompt has are read in one call. From then on every row gets one token a step, of its
    prompt, its retriever or the model, so all rows are at the same position and no model needs a mask. Finished rows
    leave the batch.

    Args:
        model: The model; its state is carried from step to step.
        conversations: One for each row; they are changed.
        device: The model's device.

    Returns:
        The reply of each conversation, in their order.
    """
    if not conversations:
        return []
    live = list(conversations)
    common = min(one.num_forced for one in live)
    tokens = torch.tensor([[one.step(PAD) for _ in range(common)] for one in live], device=device)
    state = None
    while True:
        last = torch.arange(1, len(live) + 1, device=device) * tokens.shape[1] - 1
        logits, state = model(tokens, state, last)
        choices = logits.argmax(-1).tolist()
        step = [PAD if one.is_finished else one.step(choice) for one, choice in zip(live, choices, strict=True)]
        stay = [row for row, one in enumerate(live) if not one.is_finished]
        if not stay:
            return [one.reply() for one in conversations]
        if (len(live) - len(stay)) * _LEAVE_AT >= len(live):
            state = select_rows(state, torch.tensor(stay, device=device))
            step, live = [step[row] for row in stay], [live[row] for row in stay]
        tokens = torch.tensor(step, device=device)[:, None]
