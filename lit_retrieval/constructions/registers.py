"""Names the channels of the residual stream, and writes embedding and head in terms of these names."""

from collections.abc import Iterable

import torch
from torch import Tensor

from lit_retrieval.vocabulary import Vocabulary, read_word

# A weighted sum of registers, {"number": 2.0, "one": -1.0} for 2 * number - 1.
Form = dict[str, float]


class Registers:
    """Names for the channels of the residual stream.

    `one` is 1 at every token, `number` the number in a word (5 for k5), `is k` 1 where the word is of the kind k, and
    `position` is 0 at `<s>`, 1 at the next token and so on. The head reads `say k`, the score of kind k for the next
    word, and `say number`, its number.

    Args:
        names: The registers that a construction uses, besides `one` and `number`.
        multiple: The number of channels is a multiple of this.
    """

    def __init__(self, names: Iterable[str], multiple: int = 2) -> None:
        self.names = tuple(dict.fromkeys(["one", "number", *names]))
        self._channels = {name: channel for channel, name in enumerate(self.names)}
        self.width = -(-len(self.names) // multiple) * multiple

    def __getitem__(self, name: str) -> int:
        return self._channels[name]

    def __contains__(self, name: str) -> bool:
        return name in self._channels

    def unsaid(self, vocabulary: Vocabulary) -> str | None:
        """A kind that the head can write but that no word of the vocabulary has; None if there is none."""
        kinds = {read_word(word)[0] for word in vocabulary.words}
        said = (name.removeprefix("say ") for name in self.names if name.startswith("say ") and name != "say number")
        return next((kind for kind in said if kind not in kinds), None)

    def row(self, form: Form) -> Tensor:
        """The weights of a linear form, `(width,)`, float64."""
        row = torch.zeros(self.width, dtype=torch.float64)
        for name, weight in form.items():
            row[self[name]] += weight
        return row


def write_embedding(registers: Registers, vocabulary: Vocabulary) -> Tensor:
    """The registers of each word, `(vocab_size, width)`: a number i is i times one vector (arXiv:2402.18510, A.3)."""
    embedding = torch.zeros(len(vocabulary), registers.width, dtype=torch.float64)
    for token, word in enumerate(vocabulary.words):
        kind, number = read_word(word)
        embedding[token, registers["one"]] = 1
        embedding[token, registers["number"]] = number
        if f"is {kind}" in registers:
            embedding[token, registers[f"is {kind}"]] = 1
    return embedding


def write_head(registers: Registers, vocabulary: Vocabulary) -> Tensor:
    """The weights of each word's logit, `(vocab_size, width)`.

    The word of kind k with the number i has the logit S * (say k) + 2 i x - i^2, where x is `say number`. So the kind
    decides first, then the nearest number. In the paper the head equals the embedding: i has the logit i x, and the
    largest number always wins (arXiv:2402.18510, Definition 3.2 with appendix A.3).
    """
    head = torch.zeros(len(vocabulary), registers.width, dtype=torch.float64)
    words = [read_word(word) for word in vocabulary.words]
    scale = 4.0 * max(number for _, number in words) ** 2 + 4
    for token, (kind, number) in enumerate(words):
        if f"say {kind}" not in registers:
            head[token, registers["one"]] = -scale
            continue
        head[token, registers[f"say {kind}"]] = scale
        if "say number" in registers:
            head[token, registers["say number"]] = 2 * number
            head[token, registers["one"]] = -(number**2)
    return head
