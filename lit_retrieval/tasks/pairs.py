"""Lists of pairs, a key and its value, and what is written when a key is asked for."""

import numpy as np
from numba import njit

from lit_retrieval.tasks.task import QueryForm
from lit_retrieval.tasks.writing import COT, RETRIEVAL, Authors, Counts, Rows, ask, encode_pieces, say, search_with
from lit_retrieval.vocabulary import FIRST_WORD, Ids, Vocabulary

FIRST_KEY = FIRST_WORD

# The word after a key, in both forms of a query; `(?<!\S)` lets k1 not be found at the end of kk1.
_PIECES = {"short": ("", ""), "full": (r"(?<!\S)", r"\s+(\S+)")}


def pair_words(num_keys: int, num_values: int, query_form: QueryForm) -> list[str]:
    """The words of a task of pairs: the keys, the values, and the pieces of a query in this form."""
    keys = [f"k{key}" for key in range(1, num_keys + 1)]
    values = [f"v{value}" for value in range(1, num_values + 1)]
    return [*keys, *values, *filter(None, _PIECES[query_form])]


def query_pieces(vocabulary: Vocabulary, query_form: QueryForm) -> Ids:
    """What stands around the key in a query, `(2,)`; see `search_with`."""
    return encode_pieces(vocabulary, _PIECES[query_form])


@njit(cache=True)
def write_pairs(tokens: Ids, author: Authors, at: int, keys: Counts, first_value: int, values: Counts) -> int:
    """Write each key with its value behind it, both counted from 0; returns the next place."""
    for pair in range(len(keys)):
        at = ask(tokens, author, at, FIRST_KEY + keys[pair])
        at = ask(tokens, author, at, first_value + values[pair])
    return at


@njit(cache=True)
def ask_for_key(rows: Rows, row: int, at: int, query: int, pair: int, regime: int, pieces: Ids) -> int:
    """Write a question for the key at place `pair`, and the reply; returns the next place.

    Args:
        rows: Where to write; the answer and its distance are entered too.
        row: Which row.
        at: Where in the row.
        query: How many questions came before this one.
        pair: The place of the key in the list, which begins at place 1.
        regime: Its number in REGIMES.
        pieces: Of the search, `query_pieces`.
    """
    tokens, author = rows.tokens[row], rows.author[row]
    key, value = tokens[pair], tokens[pair + 1]
    rows.answers[row, query], rows.distances[row, query] = value, at - (pair + 1)
    at = ask(tokens, author, at, key)
    if regime == COT:
        for place in range(1, pair + 1, 2):
            at = say(tokens, author, at, tokens[place])
    elif regime == RETRIEVAL:
        at = search_with(tokens, author, at, pieces, np.array([key], np.int32), value)
    return say(tokens, author, at, value)
