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
        """Make a model for so many tokens, with `forward(tokens, state=None) -> (logits, state)`.

        Tokens are int64 `(batch, time)` with any time >= 1, logits `(batch, time, vocab_size)`. The state is what the
        model needs of all tokens so far: a tensor with the batch first, an int, None or a (named) tuple of these. A
        third argument `positions` of forward, flat indices into `(batch * time)`, `(selected,)`, asks for logits
        `(selected, vocab_size)` there alone. With an attribute `takes_several` that is False, prompts are read in one
        call, and then single tokens.
        """
        ...


class WholeModel(nn.Module):
    """Makes any network with logits and a state trainable and decodable as a `SequenceModel` is.

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
        """Whether several tokens at a time may follow a state: by the rules of a network, unless it says no."""
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
        """The number of state elements for one sample after `length` tokens, from a run on the first token of all."""
        return sum(tensor.numel() for tensor in self._state_after(length))

    def state_sizes(self, length: int) -> dict[str, int]:
        """The same under the name of the network's class, or of the model that it holds; nothing without a state."""
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
    """Whether a network computes logits at the asked positions alone."""
    return "positions" in inspect.signature(network.forward).parameters
