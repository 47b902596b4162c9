"""Who wrote a token."""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Authors = npt.NDArray[np.int8]


class Author(IntEnum):
    """Who wrote a token of a transcript; a model is trained and scored on the tokens of MODEL and ASKED alone.

    ASKED is a token of the user that stands where the model is asked for an answer: the answer is scored, but the next
    token that the model reads is this one, not its answer.
    """

    PAD = 0
    PROMPT = 1
    MODEL = 2
    RETRIEVER = 3
    ASKED = 4


class Span(NamedTuple):
    """Consecutive tokens of one author: those of a transcript from `start` up to `stop`."""

    author: Author
    start: int
    stop: int

    def mark(self, text: str, opening: str = "[", closing: str = "]") -> str:
        """The span's text as people read it: what the retriever wrote is in brackets, up to its last line break."""
        if self.author != Author.RETRIEVER:
            return text
        words = text.rstrip("\n")
        return f"{opening}{words}{closing}{text[len(words) :]}"


def spans(author: Authors | Sequence[int]) -> Iterator[Span]:
    """The spans of a transcript whose tokens have these authors, `(time,)`, in their order."""
    authors = np.asarray(author, np.int8)
    bounds = [0, *(np.flatnonzero(np.diff(authors)) + 1).tolist(), len(authors)]
    for start, stop in pairwise(bounds):
        if start < stop:
            yield Span(Author(int(authors[start])), start, stop)


def asked_as_prompt(author: Authors | Sequence[int]) -> Authors:
    """The authors of a transcript, `(time,)`, with PROMPT for ASKED: both are the user's."""
    authors = np.asarray(author, np.int8)
    return np.where(authors == Author.ASKED, np.int8(Author.PROMPT), authors)
