"""Recurrences that take their tokens chunk by chunk."""

from collections.abc import Callable

import torch
from torch import Tensor

from lit_retrieval.mixers.mixer import State


def by_chunks(
    step: Callable[..., tuple[Tensor, State]], size: int, state: State, *inputs: Tensor
) -> tuple[Tensor, State]:
    """The outputs for all tokens, `(batch, heads, time, dim)`, and the state after them.

    Args:
        step: Takes the tokens of each input that are in one chunk, then the state, and returns the same for these.
        size: Tokens of a chunk.
        state: The state before the first token, with the number of `tokens` that its chunk has so far.
        inputs: `(batch, heads, time, ...)`.
    """
    outputs, ends = [], tuple(range(size - state.tokens, inputs[0].shape[2], size))
    for parts in zip(*(one.tensor_split(ends, 2) for one in inputs), strict=True):
        o, state = step(*parts, state)
        outputs.append(o)
    return torch.cat(outputs, 2), state
