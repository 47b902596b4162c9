"""Models whose replies depend on all that they have read: a test of decoding sees a wrong state only in such replies.

With the first weights of training a model repeats the last token that it has read, whatever its state is.
"""

from typing import Any

import torch
from torch import Tensor, nn

from lit_retrieval.mixers import tensors_of
from lit_retrieval.models import SequenceModel, Stage


def make_model(vocab_size: int, hidden_size: int, stages: list[Stage]) -> SequenceModel:
    """A model with large weights."""
    torch.manual_seed(1)
    options = {"embedding": "learned", "head": "untied", "initializer_range": 0.5}
    return SequenceModel(vocab_size, hidden_size, stages, **options).eval()


def enlarge(model: nn.Module, factor: float) -> nn.Module:
    """A model with its matrices that much larger."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(factor)
    return model


class Forgetful:
    """A model that finds zeros in place of its state: whoever gives it a state loses it."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, tokens: Tensor, state: Any = None, positions: Tensor | None = None) -> Any:
        for tensor in tensors_of(state):
            tensor.zero_()
        return self.model(tokens, state, positions)
