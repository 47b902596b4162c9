"""A model of your own in place of a stack of mixers."""

import inspect
from typing import Protocol

import torch
from torch import Tensor, nn

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import State, evaluating, tensors_of
from lit_retrieval.models.cached_model import CachedModel
from lit_retrieval.models.mixer_stack import select_positions
from lit_retrieval.ranges import check_at_least


class NetworkFactory(Protocol):
    """Makes a whole model; in YAML, a `class_path` with or without `init_args`."""

    def __call__(self, *, vocab_size: int) -> nn.Module:
        """Make a model for this vocabulary size, with `forward(tokens, state=None) -> (logits, state)`.

        Tokens are int64 `(batch, time)` with any time >= 1, logits `(batch, time, vocab_size)`. The state holds what
        the model needs of all tokens so far: a tensor with the batch first, an int, None or a (named) tuple of these.
        `forward` may have a third argument `positions`, flat indices into `(batch * time)`, `(selected,)`; it then
        returns logits `(selected, vocab_size)` only there. If an attribute `takes_several` is False, a prompt is read
        in one call, and then single tokens.
        """
        ...


class WholeModel(nn.Module):
    """Wraps any network with logits and a state, so that it can be trained and decoded like a `SequenceModel`.

    Args:
        vocab_size: Number of tokens.
        factory: Makes the network.
    """

    def __init__(self, vocab_size: int, factory: NetworkFactory) -> None:
        super().__init__()
        check_at_least("vocab_size", vocab_size, 1, "vocab_size")
        self.vocab_size = vocab_size
        self.network = factory(vocab_size=vocab_size)
        if not isinstance(self.network, nn.Module):
            raise UserError(f"model.network must make an nn.Module, got a {type(self.network).__name__}")
        self._takes_positions = takes_positions(self.network)

    @property
    def takes_several(self) -> bool:
        """Whether the network can read several tokens at once after a state: it must, unless it says no."""
        return bool(getattr(self.network, "takes_several", True))

    def forward(self, tokens: Tensor, state: State = None, positions: Tensor | None = None) -> tuple[Tensor, State]:
        """Predict the token after each position; see `SequenceModel.forward`."""
        logits, new_state = self.read(tokens, state, positions)
        return self.predict(logits), new_state

    def read(self, tokens: Tensor, state: State = None, positions: Tensor | None = None) -> tuple[Tensor, State]:
        """The logits `(batch, time, vocab_size)`, or those at `positions`, and the state after the last token."""
        if self._takes_positions:
            logits, new_state = self.network(tokens, state, positions)
            return logits, new_state
        logits, new_state = self.network(tokens, state)
        return select_positions(logits, positions), new_state

    def predict(self, logits: Tensor) -> Tensor:
        """The logits: the head is part of the network."""
        return logits

    @property
    def most_places(self) -> int | None:
        """Tokens of the longest text, if the network is a `CachedModel` that says so."""
        return self.network.most_places if isinstance(self.network, CachedModel) else None

    @property
    def num_parameters(self) -> int:
        """The number of trained elements."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    def state_size(self, length: int) -> int:
        """The number of state elements for one sample after `length` tokens, from a run on one repeated token."""
        return sum(tensor.numel() for tensor in self._state_after(length))

    def state_sizes(self, length: int) -> dict[str, int]:
        """The same by the class name of the network, or of the model that it holds; empty without a state."""
        size, network = self.state_size(length), self.network
        kind = type(network.model if isinstance(network, CachedModel) else network).__name__
        return {kind: size} if size else {}

    def state_bits(self, length: int) -> int:
        """The bits of those elements, under autocast too."""
        return sum(8 * tensor.nbytes for tensor in self._state_after(length))

    @torch.no_grad()
    def _state_after(self, length: int) -> list[Tensor]:
        device = next((parameter.device for parameter in self.parameters()), None)
        tokens = torch.zeros(1, length, dtype=torch.int64, device=device)
        with evaluating(self):
            _, state = self.read(tokens, positions=torch.tensor([length - 1], device=device))
        return tensors_of(state)


def takes_positions(network: nn.Module) -> bool:
    """Whether a network can compute logits only at given positions."""
    return "positions" in inspect.signature(network.forward).parameters
