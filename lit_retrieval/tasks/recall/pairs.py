"""Writes lists of pairs of a key and a value, with questions and replies about them."""

from typing import Literal

import numpy as np
from numba import njit

from lit_retrieval.conversation import Authors
from lit_retrieval.tasks.queries import search_with
from lit_retrieval.tasks.random import Counts
from lit_retrieval.tasks.task import QueryForm
from lit_retrieval.tasks.writing import COT, RETRIEVAL, Rows, ask, say
from lit_retrieval.vocabulary import FIRST_WORD, MORE, SPECIAL_WORDS, Ids

FIRST_KEY = FIRST_WORD

Counted = Literal["first", "newest"]

# The beginning of a query for the word after the first or the last such key; with `(?<!\S)`, k1 does not match the end
# of kk1.
_OPENINGS = {
    "first": {"short": "", "full": r"(?<!\S)"},
    "newest": {"short": SPECIAL_WORDS[MORE], "full": r"^.*(?<!\S)"},
}


def pair_words(num_keys: int, num_values: int, pieces: tuple[str, ...]) -> list[str]:
    """The words of a task of pairs: the keys, the values, and the `piece_words` of its queries."""
    keys = [f"k{key}" for key in range(1, num_keys + 1)]
    values = [f"v{value}" for value in range(1, num_values + 1)]
    return [*keys, *values, *piece_words(pieces)]


def piece_words(pieces: tuple[str, ...]) -> list[str]:
    """The `query_pieces` that are not in every vocabulary."""
    return [piece for piece in dict.fromkeys(pieces) if piece and piece not in SPECIAL_WORDS]


def query_pieces(query_form: QueryForm, counts: Counted = "first", key_words: int = 1) -> tuple[str, ...]:
    """What is before, between and after the words of a key in a query for the word after the first or newest such key.

    `(key_words + 1,)`, "" where there is nothing; see `search_with`.
    """
    gap, closing = ("", "") if query_form == "short" else (r"\s+", r"\s+(\S+)")
    return (_OPENINGS[counts][query_form], *[gap] * (key_words - 1), closing)


@njit(cache=True)
def write_pairs(tokens: Ids, author: Authors, at: int, keys: Counts, first_value: int, values: Counts) -> int:
    """Write each key and its value, given as numbers from 0; returns the next position."""
    for pair in range(len(keys)):
        at = ask(tokens, author, at, FIRST_KEY + keys[pair])
        at = ask(tokens, author, at, first_value + values[pair])
    return at


@njit(cache=True)
def ask_beside_key(rows: Rows, row: int, at: int, query: int, pair: int) -> int:
    """Ask for the key at position `pair`, with the answer beside it: see `ask_for_key`; returns the next position."""
    tokens = rows.tokens[row]
    rows.answers[row, query], rows.distances[row, query] = tokens[pair + 1], at - (pair + 1)
    return ask(tokens, rows.author[row], at, tokens[pair])


@njit(cache=True)
def ask_for_key(rows: Rows, row: int, at: int, query: int, pair: int, regime: int, pieces: Ids, start: int = 1) -> int:
    """Write a question for the key at position `pair`, and the reply; returns the next position.

    Args:
        rows: The transcripts; the answer and its distance are entered too.
        row: Index of the row.
        at: Position in the row.
        query: Number of earlier questions.
        pair: Position of the key in the list, which begins at position 1.
        regime: VANILLA, COT or RETRIEVAL.
        pieces: The tokens of the `query_pieces` of a search.
        start: Position of the key from which `cot` writes the keys, forward or backward, to the queried one.
    """
    tokens, author = rows.tokens[row], rows.author[row]
    key, value = tokens[pair], tokens[pair + 1]
    rows.answers[row, query], rows.distances[row, query] = value, at - (pair + 1)
    at = ask(tokens, author, at, key)
    if regime == COT:
        step = 2 if start <= pair else -2
        for position in range(start, pair + step, step):
            at = say(tokens, author, at, tokens[position])
    elif regime == RETRIEVAL:
        at = search_with(tokens, author, at, pieces, np.array([key], np.int32), value)
    return say(tokens, author, at, value)
