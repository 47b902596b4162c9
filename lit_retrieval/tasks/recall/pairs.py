"""Lists of pairs of a key and a value, with the questions and replies about them."""

import numpy as np
from numba import njit

from lit_retrieval.conversation import Authors
from lit_retrieval.tasks.queries import encode_pieces, search_with
from lit_retrieval.tasks.random import Counts
from lit_retrieval.tasks.task import QueryForm
from lit_retrieval.tasks.writing import COT, RETRIEVAL, Rows, ask, say
from lit_retrieval.vocabulary import FIRST_WORD, Ids, Vocabulary

FIRST_KEY = FIRST_WORD

# The word after a key, in both forms of a query; with `(?<!\S)`, k1 does not match the end of kk1.
_PIECES = {"short": ("", ""), "full": (r"(?<!\S)", r"\s+(\S+)")}


def pair_words(num_keys: int, num_values: int, query_form: QueryForm) -> list[str]:
    """The words of a task of pairs: the keys, the values, and the pieces of a query in this form."""
    keys = [f"k{key}" for key in range(1, num_keys + 1)]
    values = [f"v{value}" for value in range(1, num_values + 1)]
    return [*keys, *values, *filter(None, _PIECES[query_form])]


def query_pieces(vocabulary: Vocabulary, query_form: QueryForm) -> Ids:
    """The tokens before and after the key in a query, `(2,)`; see `search_with`."""
    return encode_pieces(vocabulary, _PIECES[query_form])


@njit(cache=True)
def write_pairs(tokens: Ids, author: Authors, at: int, keys: Counts, first_value: int, values: Counts) -> int:
    """Write each key and its value, both counted from 0; returns the next position."""
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
def ask_for_key(rows: Rows, row: int, at: int, query: int, pair: int, regime: int, pieces: Ids) -> int:
    """Write a question for the key at position `pair`, and the reply; returns the next position.

    Args:
        rows: The transcripts; the answer and its distance are entered too.
        row: Index of the row.
        at: Position in the row.
        query: Number of earlier questions.
        pair: Position of the key in the list, which begins at position 1.
        regime: VANILLA, COT or RETRIEVAL.
        pieces: The `query_pieces` of a search.
    """
    tokens, author = rows.tokens[row], rows.author[row]
    key, value = tokens[pair], tokens[pair + 1]
    rows.answers[row, query], rows.distances[row, query] = value, at - (pair + 1)
    at = ask(tokens, author, at, key)
    if regime == COT:
        for position in range(1, pair + 1, 2):
            at = say(tokens, author, at, tokens[position])
    elif regime == RETRIEVAL:
        at = search_with(tokens, author, at, pieces, np.array([key], np.int32), value)
    return say(tokens, author, at, value)
