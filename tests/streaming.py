"""The lower bound of Theorem 4.6 as code: a state between context and question is a message.

Alice reads n random bits and sends Bob her state; Bob asks for any one bit. If he is always right, the message has at
least n bits; `training.memory.ceiling` is the highest accuracy with fewer (arXiv:2402.18510, Lemma C.24).
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from lit_retrieval.models import MixerStack


@torch.no_grad()
def send(model: MixerStack, context: Tensor) -> Any:
    """Alice's message: the state after `context (batch, time)`, of `model.state_bits(time)` bits for each row."""
    return model(context)[1]


@torch.no_grad()
def receive(model: MixerStack, message: Any, questions: Sequence[Tensor]) -> Tensor:
    """Bob's answers to several questions, each from the state that Alice sent.

    Args:
        model: The model, which Bob has too.
        message: The state from `send`.
        questions: The tokens after the context, `(batch, time)` for each question.

    Returns:
        The most likely next token, `(batch, questions)`.
    """
    # A mixer may change its state in place, so every question gets its own copy.
    return torch.stack([model(question, deepcopy(message))[0][:, -1].argmax(-1) for question in questions], 1)
