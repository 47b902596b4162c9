r"""The query language: the paper's short form, and the regular expressions that it stands for.

| short form | asks for | paper (arXiv:2402.18510) |
|---|---|---|
| `v ~` | the other end of the first edge with v | r1 without v' (Algorithm 2) |
| `v ~ u` | the other end of v's first edge after the edge {u, v} | r1, r3 |
| `- v` | the parent recorded in `parent - v` | r2, r4 |
| `q_1 ... q_k` | the word after the first occurrence of these words | AR, c-gram (Theorem 5.2) |

Anything with a bracket in it is a regular expression of the `regex` package, its pieces joined without spaces (write
`\s+` for a gap between words). Its result is the first group that took part in the first match.
"""

from collections.abc import Sequence

import regex

from lit_retrieval.vocabulary import EDGE, END_SEARCH, PARENT, SPECIAL_WORDS

_EDGE, _PARENT = SPECIAL_WORDS[EDGE], SPECIAL_WORDS[PARENT]
_SIGNS = {_EDGE, _PARENT, SPECIAL_WORDS[END_SEARCH]}


def is_regular_expression(query: Sequence[str]) -> bool:
    """Whether the query is a full regular expression: only those have a group to return."""
    return any("(" in word for word in query)


def to_regular_expression(query: Sequence[str]) -> str | None:
    r"""The regular expression that a query stands for; None if it is in neither form.

    Words are bounded by white space and not by `\b`, which would find 1 in `-1` and no border before `<s>`.
    """
    if is_regular_expression(query):
        return "".join(query)
    names = [_whole(word) for word in query if word not in _SIGNS]
    signs = [word for word in query if word in _SIGNS]
    if list(query[1:2]) == signs == [_EDGE] and len(query) <= 3:
        edge = f"(?:{_whole_group()} {_EDGE} {names[0]}|{names[0]} {_EDGE} {_whole_group()})"
        if len(query) == 2:
            return edge
        return f"(?:{names[0]} {_EDGE} {names[1]}|{names[1]} {_EDGE} {names[0]}) .*?{edge}"
    if list(query[:1]) == signs == [_PARENT] and len(query) == 2:
        return f"{_whole_group()} {_PARENT} {names[0]}"
    if names and not signs:
        return f"{' '.join(names)} {_whole_group()}"
    return None


def _whole(word: str) -> str:
    return rf"(?<!\S){regex.escape(word)}(?!\S)"


def _whole_group() -> str:
    return r"(?<!\S)(\S+)"
