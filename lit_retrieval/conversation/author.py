"""The author of each token of a transcript."""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Authors = npt.NDArray[np.int8]


class Author(IntEnum):
    """The author of a token; a model is trained and scored only on tokens of MODEL and ASKED.

    ASKED marks a token of the user at whose position the model is asked for an answer. The answer is scored, but the
    model then reads this token, not its answer.
    """

    PAD = 0
    PROMPT = 1
    MODEL = 2
    RETRIEVER = 3
    ASKED = 4


class Span(NamedTuple):
    """Consecutive tokens of one author: positions `start` up to `stop` of a transcript."""

    author: Author
    start: int
    stop: int

    def mark(self, text: str, opening: str = "[", closing: str = "]") -> str:
        """The span's text for display: retrieved text is in brackets, without its last line break."""
        if self.author != Author.RETRIEVER:
            return text
        words = text.rstrip("\n")
        return f"{opening}{words}{closing}{text[len(words) :]}"


def spans(author: Authors | Sequence[int]) -> Iterator[Span]:
    """The spans of a transcript, in order, from the authors of its tokens, `(time,)`."""
    authors = np.asarray(author, np.int8)
    bounds = [0, *(np.flatnonzero(np.diff(authors)) + 1).tolist(), len(authors)]
    for start, stop in pairwise(bounds):
        if start < stop:
            yield Span(Author(int(authors[start])), start, stop)


def asked_as_prompt(author: Authors | Sequence[int]) -> Authors:
    """The authors `(time,)` with ASKED replaced by PROMPT, since the user writes both."""
    authors = np.asarray(author, np.int8)
    return np.where(authors == Author.ASKED, np.int8(Author.PROMPT), authors)
