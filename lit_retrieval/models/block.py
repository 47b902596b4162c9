"""A block of a model: a mixer after its norm, in the residual stream."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TypeAlias

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lit_retrieval.mixers import State, states_are_wanted, without_states

Block: TypeAlias = Callable[[nn.Module, nn.Module, Tensor, State], tuple[Tensor, State]]


def run_block(mixer: nn.Module, norm: nn.Module, hidden: Tensor, state: State) -> tuple[Tensor, State]:
    """Compute h + mixer(norm(h)) for h, `(batch, time, hidden_size)`, and the mixer's state after the last token."""
    mixed, new_state = mixer(norm(hidden), state)
    return hidden + mixed, new_state


def recomputed(run: Block) -> Block:
    """A block of which only the input is kept for the backward pass, where all else is computed again, bit for bit.

    The memory of training is then that of one block, and of `hidden` before each of them.
    """

    def run_again(mixer: nn.Module, norm: nn.Module, hidden: Tensor, state: State) -> tuple[Tensor, State]:
        contexts = partial(_contexts, states_are_wanted())
        result: tuple[Tensor, State] = checkpoint(
            run, mixer, norm, hidden, state, use_reentrant=False, context_fn=contexts
        )
        return result

    return run_again


def _contexts(wants_states: bool) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of the first and the second time: the threads of a backward pass don't have the first one's."""
    return nullcontext(), nullcontext() if wants_states else without_states()
