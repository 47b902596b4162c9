"""Writes searches and their results, in compiled generators."""

from collections.abc import Sequence

import numpy as np
from numba import njit

from lit_retrieval.conversation import Authors
from lit_retrieval.retrieval import short_form
from lit_retrieval.tasks.writing import put, say
from lit_retrieval.vocabulary import EDGE, END_SEARCH, PARENT, START_SEARCH, Ids, Vocabulary

_NOTHING = -1

# The word at a position, counted from 0 for `<s>`, in both forms of a query.
POSITION_PIECES = {"short": ("@", ""), "full": (r"^(?:\S+\s+){", r"}(\S+)")}


def encode_pieces(vocabulary: Vocabulary, pieces: Sequence[str]) -> Ids:
    """The token ids of a query's fixed pieces, for `search_with`, which skips empty pieces."""
    return np.array([vocabulary.encode([piece])[0] if piece else _NOTHING for piece in pieces], np.int32)


@njit(cache=True)
def search_parent(tokens: Ids, author: Authors, at: int, child: int, parents: Ids) -> int:
    """Write the search `- child` and its result among the `parents (vocab_size,)` recorded so far."""
    at = say(tokens, author, at, START_SEARCH)
    at = say(tokens, author, at, PARENT)
    at = say(tokens, author, at, child)
    at = say(tokens, author, at, END_SEARCH)
    return put(tokens, author, at, parents[child])


@njit(cache=True)
def search_first_edge(tokens: Ids, author: Authors, at: int, word: int, edges: tuple[Ids, Ids, Ids]) -> int:
    """Write the search `word ~` and its result among the edges of `short_form.index_edges`."""
    at = say(tokens, author, at, START_SEARCH)
    at = say(tokens, author, at, word)
    at = say(tokens, author, at, EDGE)
    at = say(tokens, author, at, END_SEARCH)
    return put(tokens, author, at, short_form.first_neighbor(edges, word))


@njit(cache=True)
def search_edge_after(
    tokens: Ids, author: Authors, at: int, word: int, neighbor: int, edges: tuple[Ids, Ids, Ids]
) -> int:
    """Write the search `word ~ neighbor` and its result among the edges of `short_form.index_edges`."""
    at = say(tokens, author, at, START_SEARCH)
    at = say(tokens, author, at, word)
    at = say(tokens, author, at, EDGE)
    at = say(tokens, author, at, neighbor)
    at = say(tokens, author, at, END_SEARCH)
    return put(tokens, author, at, short_form.neighbor_after(edges, word, neighbor))


@njit(cache=True)
def search_word(tokens: Ids, author: Authors, at: int, word: int, found: int) -> int:
    """Write the search for the token after `word`, and its result."""
    at = say(tokens, author, at, START_SEARCH)
    at = say(tokens, author, at, word)
    at = say(tokens, author, at, END_SEARCH)
    return put(tokens, author, at, found)


@njit(cache=True)
def search_with(tokens: Ids, author: Authors, at: int, pieces: Ids, names: Ids, found: int) -> int:
    """Write a search and its result.

    Args:
        tokens, author, at: Row and position to write at.
        pieces: Token ids before, between and after the names (`encode_pieces`), `(names + 1,)`.
        names: Token ids that the query asks about, `(names,)`.
        found: The token that the search finds.
    """
    at = say(tokens, author, at, START_SEARCH)
    for position in range(len(pieces)):
        if pieces[position] != _NOTHING:
            at = say(tokens, author, at, pieces[position])
        if position < len(names):
            at = say(tokens, author, at, names[position])
    at = say(tokens, author, at, END_SEARCH)
    return put(tokens, author, at, found)


def search_length(pieces: Ids) -> int:
    """The number of tokens that `search_with` writes."""
    return 2 + int((pieces != _NOTHING).sum()) + len(pieces)
