"""The lower bound of Theorem 4.6 as code: a model's memory, cut between the context and the question, is a message.

Alice reads n random bits and sends Bob what she remembers; Bob asks for any one of them. If he is always right he knows
all n bits, so the message has at least n; `training.memory.ceiling` says how often he can be right with fewer
(arXiv:2402.18510, Lemma C.24).
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from lit_retrieval.models import MixerStack


@torch.no_grad()
def send(model: MixerStack, context: Tensor) -> Any:
    """What the model remembers of `context (batch, time)`: Alice's message, of `model.state_bits(time)` bits a row."""
    return model(context)[1]


@torch.no_grad()
def receive(model: MixerStack, message: Any, questions: Sequence[Tensor]) -> Tensor:
    """Bob's answers to questions that he asks one by one, each of the message as it came.

    Args:
        model: The model, which Bob has too.
        message: What Alice has sent.
        questions: Each `(batch, time)`, in the words that come after the context.

    Returns:
        The word that the model says next, `(batch, questions)`.
    """
    # A state is used up by the words that it reads, so every question gets a copy of its own.
    return torch.stack([model(question, deepcopy(message))[0][:, -1].argmax(-1) for question in questions], 1)
