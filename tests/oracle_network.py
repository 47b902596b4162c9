"""A model that knows the answers to some questions of HotpotQA."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lit_retrieval.conversation import Author
from lit_retrieval.tasks import Regime
from lit_retrieval.tasks.text import HotpotQA
from lit_retrieval.tasks.text.questions import Order


class Oracle(nn.Module):
    """Writes the right replies to the first questions of a file; its state is all tokens before.

    Args:
        vocab_size: Number of tokens.
        tokenizer, file, regime, order: As of the task.
        knows: How many questions it answers at each number of paragraphs.
    """

    def __init__(
        self, vocab_size: int, tokenizer: str, file: str, knows: dict[int, int], regime: Regime = "vanilla",
        order: Order = "required",
    ) -> None:  # fmt: skip
        super().__init__()
        self.vocab_size = vocab_size
        self.scale = nn.Parameter(torch.ones(1))
        task = HotpotQA(Path(tokenizer), Path(file), order=order).evaluation
        self.next: dict[bytes, int] = {}
        for size, count in knows.items():
            written = task.sample(0, np.arange(count), np.full(count, size), regime)
            for row, length in enumerate(written.length.tolist()):
                for at in np.flatnonzero(written.author[row, :length] == Author.MODEL):
                    self.next[written.tokens[row, :at].astype(np.int64).tobytes()] = int(written.tokens[row, at])

    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        seen = tokens if state is None else torch.cat([state, tokens], 1)
        chosen = torch.zeros(tokens.shape, dtype=torch.int64)
        first = seen.shape[1] - tokens.shape[1]
        for row, ids in enumerate(seen.numpy()):
            for at in range(tokens.shape[1]):
                chosen[row, at] = self.next.get(ids[: first + at + 1].tobytes(), 0)
        return self.scale * nn.functional.one_hot(chosen, self.vocab_size).float(), seen
