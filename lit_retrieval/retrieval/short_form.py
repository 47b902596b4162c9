"""Answers queries in the short form on token ids. It is compiled, because tasks write transcripts with it."""

import numpy as np
from numba import njit

from lit_retrieval.vocabulary import ASK, AT, EDGE, END_SEARCH, FAILED, MORE, PARENT, Ids


@njit(cache=True)
def index_edges(context: Ids, vocab_size: int) -> tuple[Ids, Ids, Ids]:
    """For every word, the edges `u ~ v` that contain it, in order.

    Args:
        context: Token ids, `(time,)`.
        vocab_size: Number of words.

    Returns:
        `starts (vocab_size + 1,)`, and `ends` and `positions`, both `(edge ends,)`: the edges of word `v` are those
        from `starts[v]` to `starts[v + 1]`, `ends` has the other end, `positions` where the edge begins in the context.
    """
    starts = np.zeros(vocab_size + 1, np.int32)
    for at in range(len(context) - 2):
        if context[at + 1] == EDGE:
            starts[context[at] + 1] += 1
            if context[at] != context[at + 2]:
                starts[context[at + 2] + 1] += 1
    for word in range(vocab_size):
        starts[word + 1] += starts[word]
    ends, positions, free = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.int32), starts.copy()
    for at in range(len(context) - 2):
        if context[at + 1] == EDGE:
            left, right = context[at], context[at + 2]
            ends[free[left]], positions[free[left]] = right, at
            free[left] += 1
            if left != right:
                ends[free[right]], positions[free[right]] = left, at
                free[right] += 1
    return starts, ends, positions


@njit(cache=True)
def first_neighbor(edges: tuple[Ids, Ids, Ids], word: int) -> int:
    """The other end of the first edge of `word`; FAILED if it has none."""
    starts, ends, _ = edges
    return int(ends[starts[word]]) if starts[word] < starts[word + 1] else FAILED


@njit(cache=True)
def neighbor_after(edges: tuple[Ids, Ids, Ids], word: int, neighbor: int) -> int:
    """The other end of the first edge of `word` after the edge `{word, neighbor}`; FAILED if there is none."""
    starts, ends, positions = edges
    stop = -1
    for edge in range(starts[word], starts[word + 1]):
        if stop >= 0 and positions[edge] >= stop:
            return int(ends[edge])
        if stop < 0 and ends[edge] == neighbor:
            stop = positions[edge] + 3
    return FAILED


@njit(cache=True)
def index_parents(context: Ids, parents: Ids) -> None:
    """Enter each `parent - child` of `context (time,)` into `parents (vocab_size,)`; a child's first record counts."""
    for at in range(len(context) - 2):
        if context[at + 1] == PARENT and parents[context[at + 2]] == FAILED:
            parents[context[at + 2]] = context[at]


@njit(cache=True)
def word_after(context: Ids, phrase: Ids) -> int:
    """The token after the first occurrence of `phrase (tokens,)` in `context (time,)`; FAILED if there is none."""
    for at in range(len(context) - len(phrase)):
        if _is_at(context, at, phrase):
            return int(context[at + len(phrase)])
    return FAILED


@njit(cache=True)
def word_after_last(context: Ids, phrase: Ids) -> int:
    """The token after the last occurrence of `phrase (tokens,)` that has a token after it; FAILED if there is none."""
    for at in range(len(context) - len(phrase) - 1, -1, -1):
        if _is_at(context, at, phrase):
            return int(context[at + len(phrase)])
    return FAILED


@njit(cache=True)
def word_behind(context: Ids, heading: int, word: int) -> int:
    """The token after the first `word` behind the first `heading` in `context (time,)`; FAILED if none."""
    at = 0
    while at < len(context) and context[at] != heading:
        at += 1
    for behind in range(at + 1, len(context) - 1):
        if context[behind] == word:
            return int(context[behind + 1])
    return FAILED


@njit(cache=True)
def _is_at(context: Ids, at: int, phrase: Ids) -> bool:
    offset = 0
    while offset < len(phrase) and context[at + offset] == phrase[offset]:
        offset += 1
    return offset == len(phrase)


@njit(cache=True)
def occurs_more_than(context: Ids, word: int, count: int) -> bool:
    """Whether `word` occurs more than `count` times in `context (time,)` before its last `?`."""
    facts = 0
    for at in range(len(context)):
        if context[at] == ASK:
            facts = at
    for at in range(facts):
        count -= context[at] == word
    return count < 0


@njit(cache=True)
def is_sign(word: int) -> bool:
    """Whether the word is a sign of the query language."""
    return word in (EDGE, PARENT, END_SEARCH, AT, MORE)


@njit(cache=True)
def answer(context: Ids, query: Ids, numbers: Ids) -> int:
    """The token that a query in the short form finds, or FAILED; `queries.py` lists the forms.

    Args:
        context: Token ids that the query may see, `(time,)`.
        query: Token ids between `<StartSearch>` and `<EndSearch>`, `(tokens,)`.
        numbers: The value of each word that is a numeral, else -1, `(vocab_size,)`.
    """
    signs = 0
    for word in query:
        signs += is_sign(word)
    if len(query) > 0 and signs == 0:
        return word_after(context, query)
    if len(query) > 1 and signs == 1 and query[0] == MORE:
        return word_after_last(context, query[1:])
    if signs != 1 or len(query) not in (2, 3):
        return FAILED
    if len(query) == 2 and query[0] == AT:
        return _word_at(context, numbers[query[1]])
    if len(query) == 2 and query[0] == PARENT:
        parents = np.full(len(numbers), FAILED, np.int32)
        index_parents(context, parents)
        return int(parents[query[1]])
    if query[1] == EDGE:
        edges = index_edges(context, len(numbers))
        return first_neighbor(edges, query[0]) if len(query) == 2 else neighbor_after(edges, query[0], query[2])
    if len(query) == 2 or query[1] != MORE:
        return FAILED
    if numbers[query[2]] < 0:
        return word_behind(context, query[0], query[2])
    return int(query[0]) if occurs_more_than(context, query[0], numbers[query[2]]) else FAILED


@njit(cache=True)
def _word_at(context: Ids, position: int) -> int:
    return int(context[position]) if 0 <= position < len(context) else FAILED
