"""Greedy decoding of a batch of conversations; each step of the model serves all rows."""

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lit_retrieval.conversation import Conversations, Replies, TextConversations
from lit_retrieval.conversation.turns import Places
from lit_retrieval.mixers import select_rows
from lit_retrieval.vocabulary import PAD

# Finished rows are removed once they are an eighth of the batch, since removal copies the state of the others. On a
# GPU, where a step of half the rows takes about as long, they are removed once they are half.
_LEAVE_AT, _LEAVE_AT_ON_A_GPU = 8, 2
_LEAST_SHARED = 32  # tokens that are read once for all rows: for fewer, a second call costs more than it saves


class DecodableModel(Protocol):
    """A model that `generate` can run: `SequenceModel`, or your own."""

    def __call__(self, tokens: Tensor, state: Any = None, positions: Tensor | None = None) -> tuple[Tensor, Any]:
        """Read tokens.

        Args:
            tokens: Token ids, `(batch, time)`.
            state: The state that an earlier call returned; None before the first token.
            positions: Positions at which to predict the next token: indices into the flattened `(batch * time)`, int64
                `(selected,)`; all if absent.

        Returns:
            The logits of the next token, `(batch, time, vocab_size)`, or `(selected, vocab_size)` at `positions`; and
            the state: tensors with the batch first, in nested tuples.
        """
        ...


def takes_several(model: object) -> bool:
    """Whether a call with a state may have several tokens, as the model's attribute `takes_several` says."""
    return bool(getattr(model, "takes_several", False))


@torch.inference_mode()
def generate(
    model: DecodableModel, conversations: Conversations | TextConversations, device: torch.device | None = None
) -> Replies:
    """Continue every conversation to its end, greedily.

    The first call reads as many tokens of each row as the shortest prompt has. If all prompts begin with the same
    tokens and `takes_several` is true, the model reads these first, in a single row, and the state is repeated. From
    then on every row gets one token per step, from its prompt, its retriever or the model. So all rows are at the same
    position, and no model needs a mask. Finished rows are removed from the batch.

    Args:
        model: The model; its state is passed from step to step.
        conversations: One for each row; modified in place.
        device: The model's device.

    Returns:
        The reply of each conversation, in order.
    """
    live = np.arange(len(conversations))
    if not len(live):
        return conversations.replies()
    leave_at = _LEAVE_AT_ON_A_GPU if device is not None and device.type == "cuda" else _LEAVE_AT
    nothing, common = np.full(len(live), PAD), int(conversations.num_certain.min())
    taken = np.stack([conversations.step(nothing) for _ in range(common)], 1)
    state, shared = _read_shared(model, taken, device)
    tokens = torch.from_numpy(taken[:, shared:]).to(device)
    while True:
        last = torch.arange(1, len(live) + 1, device=device) * tokens.shape[1] - 1
        logits, state = model(tokens, state, last)
        taken = conversations.step(logits.argmax(-1).cpu().numpy(), live)
        goes_on = ~conversations.is_finished[live]
        stay = int(goes_on.sum())
        if not stay:
            return conversations.replies()
        if (len(live) - stay) * leave_at >= len(live):
            state = select_rows(state, torch.from_numpy(np.flatnonzero(goes_on)).to(device))
            taken, live = taken[goes_on], live[goes_on]
        tokens = torch.from_numpy(taken).to(device)[:, None]


def _read_shared(model: DecodableModel, taken: Places, device: torch.device | None) -> tuple[Any, int]:
    """Read the common beginning of all rows once, except their last token, whose logits each row needs.

    Args:
        model: The model.
        taken: The first tokens of the rows, `(rows, time)`.
        device: The model's device.

    Returns:
        The state of all rows, and the number of tokens read; None and 0 if the beginning is too short to save time.
    """
    rows, time = taken.shape
    if rows == 1 or time <= _LEAST_SHARED or not takes_several(model) or (taken != taken[0])[:, :_LEAST_SHARED].any():
        return None, 0
    differs = (taken[:, :-1] != taken[0, :-1]).any(0)
    shared = int(differs.argmax()) if differs.any() else time - 1
    tokens = torch.from_numpy(taken[:1, :shared]).to(device)
    _, state = model(tokens, None, torch.tensor([shared - 1], device=device))
    return select_rows(state, torch.zeros(rows, dtype=torch.int64, device=device)), shared
