"""Whole models of one's own, one that is right and some that break a rule each."""

from typing import Any

from torch import Tensor, nn


class Gru(nn.Module):
    """A GRU between an embedding and a head.

    Args:
        vocab_size: Number of tokens.
        width: Elements of the state.
    """

    def __init__(self, vocab_size: int, width: int = 8) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.recurrence = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, vocab_size)

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Any, Any]:
        """Logits and the state, `(batch, 1, width)`."""
        before = None if state is None else state.transpose(0, 1).contiguous()
        y, after = self.recurrence(self.embedding(tokens), before)
        return self.head(y), after.transpose(0, 1)


class Loader:
    """Loads a GRU whose embedding is frozen, always the same.

    Args:
        width: Elements of the state.
    """

    def __init__(self, width: int = 8) -> None:
        self.width = width

    def load(self, *, vocab_size: int) -> nn.Module:
        network = Gru(vocab_size, self.width)
        nn.init.ones_(network.embedding.weight.requires_grad_(False))
        return network


class NoState(Gru):
    """Forgets what it has read."""

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Any, Any]:
        return super().forward(tokens)


class SilentNoState(NoState):
    """The same, with a head that begins in zeros."""

    def __init__(self, vocab_size: int, **arguments: Any) -> None:
        super().__init__(vocab_size, **arguments)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)


class LogitsAlone(Gru):
    """Returns no state."""

    def forward(self, tokens: Tensor, state: Any = None) -> Any:
        return super().forward(tokens, state)[0]


class LayersFirst(Gru):
    """Has the batch second in its state, as PyTorch has it."""

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Any, Any]:
        y, after = self.recurrence(self.embedding(tokens), state)
        return self.head(y), after


class DictAsState(Gru):
    """Has its state in a dict."""

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Any, Any]:
        logits, after = super().forward(tokens, None if state is None else state["state"])
        return logits, {"state": after}


class HalfTheWords(Gru):
    """Has logits for some of the words alone."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__(vocab_size)
        self.head = nn.Linear(8, vocab_size // 2)


class MixesRows(Gru):
    """Lets rows see each other."""

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Any, Any]:
        logits, after = super().forward(tokens, state)
        return logits + logits.mean(0, keepdim=True), after


class Raises(Gru):
    """Fails in its forward."""

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Any, Any]:
        raise IndexError("no such token")


class IgnoresPositions(Gru):
    """Predicts everywhere, wherever it is asked."""

    def forward(self, tokens: Tensor, state: Any = None, positions: Tensor | None = None) -> tuple[Any, Any]:
        return super().forward(tokens, state)
