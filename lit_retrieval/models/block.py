"""A block of a model: a mixer after its norm, in the residual stream."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TypeAlias

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lit_retrieval.mixers import State, run_mixer, states_are_wanted, without_states

Output: TypeAlias = tuple[Tensor, State, Tensor | None]
Block: TypeAlias = Callable[[nn.Module, nn.Module, Tensor, State, Tensor | None], Output]


def run_block(mixer: nn.Module, norm: nn.Module, hidden: Tensor, state: State, is_token: Tensor | None) -> Output:
    """Compute h + mixer(norm(h)) for h, `(batch, time, hidden_size)`, and the mixer's state after the last token.

    With `is_token`, see `run_mixer`, also the mixer's auxiliary loss, if it has one; else None.
    """
    mixed, new_state, loss = run_mixer(mixer, norm(hidden), state, is_token)
    return hidden + mixed, new_state, loss


def recomputed(run: Block) -> Block:
    """A block that keeps only its input for the backward pass and recomputes all else there, bit for bit.

    Training then needs the memory of one block, plus `hidden` before each block.
    """

    def run_again(mixer: nn.Module, norm: nn.Module, hidden: Tensor, state: State, is_token: Tensor | None) -> Output:
        contexts = partial(_contexts, states_are_wanted())
        result: Output = checkpoint(run, mixer, norm, hidden, state, is_token, use_reentrant=False, context_fn=contexts)
        return result

    return run_again


def _contexts(wants_states: bool) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts for the forward and the recomputation, because a backward thread does not inherit the forward's."""
    return nullcontext(), nullcontext() if wants_states else without_states()
