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
    """A block of which only the input is kept for the backward pass, where all else is computed again, bit for bit.

    The memory of training is then that of one block, and of `hidden` before each of them.
    """

    def run_again(mixer: nn.Module, norm: nn.Module, hidden: Tensor, state: State, is_token: Tensor | None) -> Output:
        contexts = partial(_contexts, states_are_wanted())
        result: Output = checkpoint(run, mixer, norm, hidden, state, is_token, use_reentrant=False, context_fn=contexts)
        return result

    return run_again


def _contexts(wants_states: bool) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of the first and the second time: the threads of a backward pass don't have the first one's."""
    return nullcontext(), nullcontext() if wants_states else without_states()
