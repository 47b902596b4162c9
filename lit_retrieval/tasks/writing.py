"""Writes transcripts token by token, in compiled generators."""

from typing import NamedTuple

import numpy as np
from numba import njit

from lit_retrieval.conversation import Author, Authors
from lit_retrieval.tasks.random import Counts
from lit_retrieval.tasks.task import REGIMES, Transcripts
from lit_retrieval.vocabulary import Ids

_PROMPT, _MODEL = int(Author.PROMPT), int(Author.MODEL)
_RETRIEVER, _ASKED = int(Author.RETRIEVER), int(Author.ASKED)
VANILLA, COT, RETRIEVAL = range(len(REGIMES))  # a regime's number, in compiled code


class Rows(NamedTuple):
    """`Transcripts` during writing: the same arrays, the first two wider."""

    tokens: Ids
    author: Authors
    length: Counts
    prompt_length: Counts
    answers: Ids
    distances: Counts

    def transcripts(self, sizes: Counts, kinds: Counts | None = None) -> Transcripts:
        """The finished transcripts, cut to the length of the longest."""
        width = int(self.length.max(initial=0))
        kinds = np.zeros(len(sizes), np.int64) if kinds is None else kinds
        return Transcripts(
            self.tokens[:, :width], self.author[:, :width], self.length, self.prompt_length, self.answers, sizes,
            self.distances, kinds,
        )  # fmt: skip


def blank_rows(batch: int, width: int, num_answers: int) -> Rows:
    """Rows with room for `width` tokens and `num_answers` answers each."""
    return Rows(
        np.zeros((batch, width), np.int32), np.zeros((batch, width), np.int8),
        np.zeros(batch, np.int64), np.zeros(batch, np.int64),
        np.zeros((batch, num_answers), np.int32), np.zeros((batch, num_answers), np.int64),
    )  # fmt: skip


@njit(cache=True)
def ask(tokens: Ids, author: Authors, at: int, word: int) -> int:
    """Write a token of the prompt at position `at` of a row `(time,)`; this and the others return the next position."""
    tokens[at], author[at] = word, _PROMPT
    return at + 1


@njit(cache=True)
def say(tokens: Ids, author: Authors, at: int, word: int) -> int:
    """Write a token of the model."""
    tokens[at], author[at] = word, _MODEL
    return at + 1


@njit(cache=True)
def put(tokens: Ids, author: Authors, at: int, word: int) -> int:
    """Write a retrieved token."""
    tokens[at], author[at] = word, _RETRIEVER
    return at + 1


@njit(cache=True)
def ask_beside(tokens: Ids, author: Authors, at: int, word: int) -> int:
    """Write a token of the user beside which the model is asked for an answer; the answer is not written."""
    tokens[at], author[at] = word, _ASKED
    return at + 1
