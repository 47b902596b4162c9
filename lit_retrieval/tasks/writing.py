"""Writing a transcript word by word, for compiled generators."""

import numpy as np
import numpy.typing as npt
from numba import njit

from lit_retrieval.retrieval import short_form
from lit_retrieval.tasks.task import Author
from lit_retrieval.vocabulary import EDGE, END_SEARCH, PARENT, START_SEARCH, Ids

Authors = npt.NDArray[np.int8]
_PROMPT, _MODEL, _RETRIEVER = int(Author.PROMPT), int(Author.MODEL), int(Author.RETRIEVER)


@njit(cache=True)
def ask(tokens: Ids, author: Authors, at: int, word: int) -> int:
    """Write a word of the prompt at place `at` of a row `(time,)`; returns the next place, as all of these do."""
    tokens[at], author[at] = word, _PROMPT
    return at + 1


@njit(cache=True)
def say(tokens: Ids, author: Authors, at: int, word: int) -> int:
    """Write a word of the model."""
    tokens[at], author[at] = word, _MODEL
    return at + 1


@njit(cache=True)
def put(tokens: Ids, author: Authors, at: int, word: int) -> int:
    """Write a retrieved word."""
    tokens[at], author[at] = word, _RETRIEVER
    return at + 1


@njit(cache=True)
def search_parent(tokens: Ids, author: Authors, at: int, child: int, parents: Ids) -> int:
    """Write the search `- child` and what it finds among the `parents (vocab_size,)` recorded so far."""
    at = say(tokens, author, at, START_SEARCH)
    at = say(tokens, author, at, PARENT)
    at = say(tokens, author, at, child)
    at = say(tokens, author, at, END_SEARCH)
    return put(tokens, author, at, parents[child])


@njit(cache=True)
def search_first_edge(tokens: Ids, author: Authors, at: int, word: int, edges: tuple[Ids, Ids, Ids]) -> int:
    """Write the search `word ~` and what it finds among the edges of `short_form.index_edges`."""
    at = say(tokens, author, at, START_SEARCH)
    at = say(tokens, author, at, word)
    at = say(tokens, author, at, EDGE)
    at = say(tokens, author, at, END_SEARCH)
    return put(tokens, author, at, short_form.first_neighbour(edges, word))


@njit(cache=True)
def search_edge_after(
    tokens: Ids, author: Authors, at: int, word: int, neighbour: int, edges: tuple[Ids, Ids, Ids]
) -> int:
    """Write the search `word ~ neighbour` and what it finds among the edges of `short_form.index_edges`."""
    at = say(tokens, author, at, START_SEARCH)
    at = say(tokens, author, at, word)
    at = say(tokens, author, at, EDGE)
    at = say(tokens, author, at, neighbour)
    at = say(tokens, author, at, END_SEARCH)
    return put(tokens, author, at, short_form.neighbour_after(edges, word, neighbour))


@njit(cache=True)
def search_word_after(tokens: Ids, author: Authors, at: int, context: Ids, phrase: Ids) -> int:
    """Write the search for the word after `phrase (words,)` and what it finds in `context (time,)`."""
    at = say(tokens, author, at, START_SEARCH)
    for word in phrase:
        at = say(tokens, author, at, word)
    at = say(tokens, author, at, END_SEARCH)
    return put(tokens, author, at, short_form.word_after(context, phrase))
