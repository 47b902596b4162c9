r"""The query language: the paper's short form, and the regular expressions that it stands for.

| short form | asks for | paper (arXiv:2402.18510) |
|---|---|---|
| `v ~` | the other end of the first edge with v | r1 without v' (Algorithm 2) |
| `v ~ u` | the other end of v's first edge after the edge {u, v} | r1, r3 |
| `- v` | the parent recorded in `parent - v` | r2, r4 |
| `q_1 ... q_k` | the word after the first occurrence of these words | AR, c-gram (Theorem 5.2) |
| `> q_1 ... q_k` | the word after their last occurrence that a word follows | |
| `p > q` | the word after the first q, no numeral, behind the first p | |
| `@ k` | the word at position k, counted from 0 for `<s>` | Index (Theorem 5.2) |
| `q > t` | q, if it occurs more than t times before the last `?` | Counting (Theorem 5.2) |

A query with a parenthesis in it is a regular expression of the `regex` package, its pieces joined without spaces
(write `\s+` for a gap between words). Its result is the first participating group of the first match.
"""

from collections.abc import Sequence

import regex

from lit_retrieval.vocabulary import ASK, AT, EDGE, END_SEARCH, MORE, PARENT, SPECIAL_WORDS, is_numeral

_EDGE, _PARENT, _AT, _MORE = (SPECIAL_WORDS[sign] for sign in (EDGE, PARENT, AT, MORE))
_GROUP = r"(?<!\S)(\S+)"  # a whole word, captured
_SIGNS = {_EDGE, _PARENT, _AT, _MORE, SPECIAL_WORDS[END_SEARCH]}


def is_regular_expression(query: Sequence[str]) -> bool:
    """Whether the query is a full regular expression: it has a parenthesis, and so a group to return."""
    return any("(" in word for word in query)


def to_regular_expression(query: Sequence[str]) -> str | None:
    r"""Translate a query into a regular expression; None if the query has neither form.

    Words are bounded by white space, not by `\b`, which would find 1 in `-1` and no boundary before `<s>`.
    """
    if is_regular_expression(query):
        return "".join(query)
    names = [_whole(word) for word in query if word not in _SIGNS]
    signs = [word for word in query if word in _SIGNS]
    if names and not signs:
        return f"{' '.join(names)} {_GROUP}"
    if names and signs == [_MORE] and query[0] == _MORE:
        return f"^.*{' '.join(names)} {_GROUP}"
    if len(signs) != 1 or len(query) not in (2, 3):
        return None
    if len(query) == 2 and query[0] == _AT and is_numeral(query[1]):
        return rf"^(?:\S+ ){{{int(query[1])}}}{_GROUP}"
    if len(query) == 2 and query[0] == _PARENT:
        return f"{_GROUP} {_PARENT} {names[0]}"
    if query[1] == _EDGE:
        return _next_edge(*names)
    if len(query) == 2 or query[1] != _MORE:
        return None
    if is_numeral(query[2]):
        return f"^(?>.*?({names[0]})){{{int(query[2]) + 1}}}(?=.*{_whole(SPECIAL_WORDS[ASK])})"
    return f"{names[0]} (?:.*? )??{names[1]} {_GROUP}"


def _next_edge(vertex: str, neighbor: str | None = None) -> str:
    edge = f"(?:{_GROUP} {_EDGE} {vertex}|{vertex} {_EDGE} {_GROUP})"
    if neighbor is None:
        return edge
    return f"(?:{vertex} {_EDGE} {neighbor}|{neighbor} {_EDGE} {vertex}) .*?{edge}"


def _whole(word: str) -> str:
    return rf"(?<!\S){regex.escape(word)}(?!\S)"
