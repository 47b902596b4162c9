"""A stack of mixers: the residual stream through them, and the size of their states."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import cast

import torch
from torch import Tensor, nn

from lit_retrieval.mixers import FlaLayer, Mixer, Parallel, State, evaluating, tensors_of
from lit_retrieval.models.block import Block, recomputed, run_block
from lit_retrieval.models.compiled_blocks import check_mixers, compile_block

_SOME = (1, 40)  # lengths whose states are compared to find the tensors that grow
# The last one is in use. torch.compile can't trace a ContextVar.
_collected: list[tuple[Tensor | None, list[Tensor]]] = [(None, [])]


@contextmanager
def auxiliary_losses(is_token: Tensor | None) -> Iterator[list[Tensor]]:
    """A block that collects the auxiliary losses `()` of all mixers that have one into the list.

    Args:
        is_token: Which tokens count, bool `(batch, time)`; with None the list stays empty.
    """
    losses: list[Tensor] = []
    _collected.append((is_token, losses))
    try:
        yield losses
    finally:
        _collected.pop()


class MixerStack(nn.Module):
    """A model whose state is that of its `mixers`, each after one of its `norms`.

    Attributes:
        takes_several: Whether several tokens can be read at once after a state; always true.
    """

    takes_several = True
    mixers: nn.ModuleList
    norms: nn.ModuleList
    embedding: Tensor
    _trained: Block = staticmethod(run_block)

    def compile_blocks(self, device: torch.device) -> None:
        """Compile each block by `torch.compile` for training; raises `UserError` if this device can't.

        Calls without gradients or with a state are not compiled: a single token is too little work, and scores should
        not depend on the compiler.
        """
        check_mixers(self.mixers, device)
        self._trained = compile_block()

    def recompute_blocks(self) -> None:
        """Let training keep only the input of each block, and recompute the rest in the backward pass."""
        self._trained = recomputed(self._trained)

    def mix(self, hidden: Tensor, states: tuple[State, ...] | None) -> tuple[Tensor, tuple[State, ...]]:
        """Compute h = h + mixer(norm(h)) for one mixer after the other.

        Args:
            hidden: `(batch, time, hidden_size)`.
            states: The states that an earlier call returned, one for each mixer; None before the first token.

        Returns:
            The sum, shaped like `hidden`, and the states after the last token.
        """
        new_states = []
        is_token, losses = _collected[-1]
        run = self._trained if states is None and torch.is_grad_enabled() else run_block
        for mixer, norm, state in zip(self.mixers, self.norms, states or (None,) * len(self.mixers), strict=True):
            hidden, new_state, loss = run(mixer, norm, hidden, state, is_token)
            new_states.append(new_state)
            if loss is not None:
                losses.append(loss)
        return hidden, tuple(new_states)

    def state_size(self, length: int) -> int:
        """The number of state elements for one sample after `length` tokens."""
        return sum(cast(Mixer, mixer).state_size(length) for mixer in self.mixers)

    def state_sizes(self, length: int) -> dict[str, int]:
        """The number of state elements by kind of mixer, for mixers with a state."""
        sizes: Counter[str] = Counter()
        for mixer, _ in _each(self.mixers, None):
            kind = type(mixer.layer if isinstance(mixer, FlaLayer) else mixer).__name__
            sizes[kind] += cast(Mixer, mixer).state_size(length)
        return {kind: size for kind, size in sizes.items() if size}

    @torch.no_grad()
    def state_bits(self, length: int) -> int:
        """The bits of these elements, by the dtypes of the states after some tokens; autocast counts."""
        with evaluating(self):  # so that dropout draws no random numbers for these tokens
            states = [self.mix(self.embedding.new_zeros(1, some, self.embedding.shape[1]), None)[1] for some in _SOME]
        sized = zip(_each(self.mixers, states[0]), _each(self.mixers, states[1]), strict=True)
        return int(sum(_bits(cast(Mixer, mixer).state_size(length), one, later) for (mixer, one), (_, later) in sized))

    @property
    def num_parameters(self) -> int:
        """The number of trained elements; a frozen embedding has none."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)


def select_positions(hidden: Tensor, positions: Tensor | None) -> Tensor:
    """Keep the vectors `(selected, hidden_size)` at `positions`, flat indices into `(batch * time)`; all if absent."""
    return hidden if positions is None else hidden.flatten(0, 1).index_select(0, positions)


def _each(mixers: nn.ModuleList, states: tuple[State, ...] | None) -> Iterator[tuple[nn.Module, State]]:
    """Each mixer with its state; those inside a `Parallel` separately, because their states may grow differently."""
    for mixer, state in zip(mixers, states or (None,) * len(mixers), strict=True):
        if isinstance(mixer, Parallel):
            yield from _each(mixer.mixers, state)
        else:
            yield mixer, state


def _bits(size: int, early: State, later: State) -> Fraction:
    """The bits of a state of `size` elements, computed from the states after a few and after more tokens.

    Tensors of different dtypes may grow differently; tensors of constant size count as they are.
    """
    tensors, before = tensors_of(later), tensors_of(early)
    same = [one.shape == other.shape for one, other in zip(before, tensors, strict=False)]
    is_fixed = same if len(before) == len(tensors) else [False] * len(tensors)
    fixed = [one for one, is_same in zip(tensors, is_fixed, strict=True) if is_same]
    growing = [one for one, is_same in zip(tensors, is_fixed, strict=True) if not is_same]
    if len({one.dtype for one in tensors}) < 2 or not growing:
        return size * _mean_bits(tensors)
    rest = size - sum(one.numel() for one in fixed)
    return sum(8 * one.nbytes for one in fixed) + rest * _mean_bits(growing)


def _mean_bits(tensors: Sequence[Tensor]) -> Fraction:
    return Fraction(sum(8 * one.nbytes for one in tensors), sum(one.numel() for one in tensors) or 1)
