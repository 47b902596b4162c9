"""Theorem 5.3: a linear RNN of constant size that decides IsTree by searches, and writes Algorithm 2 word by word.

The last 13 words determine the next word. A block of the trace belongs to a vertex v with the parent p:

    v  S - v E [p]  S v ~ u E [x]  S v ~ p E [y]  S - o E [q]  v - o  o

S and E stand for <StartSearch> and <EndSearch>, and u is the vertex that the search came from (left out if it is p).
The third search is written only if x is p, and the fourth only if an edge was found, to o. The record `v - o` with the
next vertex o is written only if o was new. If no edge was found, the next vertex is p, or the verdict follows.
"""

import re

from lit_retrieval.constructions.feed_forward import Unit, indicate, say, where, write_feed_forward
from lit_retrieval.constructions.linear_unit import ago, remember, remembered
from lit_retrieval.constructions.model import ConstructedModel
from lit_retrieval.constructions.registers import Form, Registers
from lit_retrieval.vocabulary import Vocabulary

_REACH = 13
_WORDS = ("<StartSearch>", "<EndSearch>", "~", "-", "?", "FAILED", "numeral")
_KEPT = [*(f"is {word}" for word in _WORDS), "number"]
_COUNTED = ("record", "edge")
_EQUAL = ("x is p behind u", "x is p", "u is p", "o is the root", "all vertices")
_SAID = ("numeral", "<StartSearch>", "<EndSearch>", "~", "-", "YES", "NO")


def is_tree(vocabulary: Vocabulary) -> ConstructedModel:
    """IsTree with searches in the short form (arXiv:2402.18510, Algorithm 2)."""
    registers = Registers(
        [*remembered(_KEPT, _REACH), *_KEPT, "sum of is ?", *_COUNTED, *(f"sum of {name}" for name in _COUNTED), "u",
         *_EQUAL, *(f"say {kind}" for kind in _SAID), "say number"]
    )  # fmt: skip
    mixers = [
        remember(registers, _KEPT, _REACH, sums=["is ?"]),
        write_feed_forward(registers, [*_count(), *_came_from()]),
        remember(registers, [], 0, sums=_COUNTED),
        write_feed_forward(registers, _compare()),
        write_feed_forward(registers, [*_write_searches(), *_write_record(), *_move(), *_judge()]),
    ]
    return ConstructedModel(vocabulary, registers, mixers)


def _is(words: str) -> list[str]:
    """Conditions on the last words: `E@1 not -@4` means the last but one is <EndSearch>, the fifth last not `-`."""
    names = {"S": "<StartSearch>", "E": "<EndSearch>", "N": "numeral"}
    parts = re.findall(r"(not )?(\S+)@(\d+)", words)
    return [turned + ago(f"is {names.get(word, word)}", int(lag)) for turned, word, lag in parts]


def _number(lag: int) -> Form:
    return {ago("number", lag): 1.0}


def _count() -> list[Unit]:
    """Count records `v - o` of the trace, and edges of the prompt, by one at each."""
    return [
        *where(_is("-@0 not S@1"), {"one": 1.0}, "record"),
        *where([*_is("~@0"), "not sum of is ?"], {"one": 1.0}, "edge"),
    ]


def _came_from() -> list[Unit]:
    """At the `~` of a block's second search, find u: it is in the record before v, or in the failed query."""
    return [
        *where(_is("-@10 not FAILED@9"), _number(11), "u"),
        *where(_is("FAILED@9 ~@12"), _number(13), "u"),
        *where(_is("FAILED@9 ~@11"), _number(12), "u"),
    ]


def _compare() -> list[Unit]:
    """Compare numbers for equality."""
    return [
        *indicate({**_number(1), ago("number", 7): -1.0}, 0, {"x is p behind u": 1.0}),
        *indicate({**_number(1), ago("number", 6): -1.0}, 0, {"x is p": 1.0}),
        *indicate({"u": 1.0, ago("number", 3): -1.0}, 0, {"u is p": 1.0}),
        *indicate(_number(2), 1, {"o is the root": 1.0}),
        *indicate({"sum of record": 1.0, "sum of edge": -1.0}, 0, {"all vertices": 1.0}),
    ]


def _write_searches() -> list[Unit]:
    """Write the words of queries, from <StartSearch> to <EndSearch>."""
    x_is_p = [[*_is("S@0 E@2 ~@4"), "x is p behind u"], [*_is("S@0 E@2 ~@3"), "x is p"]]
    x_is_not_p = [[*_is("S@0 E@2 ~@4"), "not x is p behind u"], [*_is("S@0 E@2 ~@3"), "not x is p"]]
    return [
        *say(_is("S@0 not E@2"), "-"),  # after a vertex: who is its parent?
        *say(_is("S@0 E@2 -@4"), "numeral", _number(3)),  # after its parent: which edge comes next?
        *say(x_is_p[0], "numeral", _number(5)),  # after the edge to its parent: which comes after that?
        *say(x_is_p[1], "numeral", _number(4)),
        *(unit for conditions in x_is_not_p for unit in say(conditions, "-")),  # who is the parent of o?
        *say(_is("-@0 S@1"), "numeral", _number(2)),
        *say(_is("N@0 -@1 S@2"), "<EndSearch>"),
        *say(_is("N@0 S@1"), "~"),
        *say([*_is("~@0 S@2 -@6"), "u is p"], "<EndSearch>"),
        *say([*_is("~@0 S@2 -@6"), "not u is p"], "numeral", {"u": 1.0}),
        *say(_is("~@0 S@2 not -@6"), "numeral", _number(3)),
        *say(_is("N@0 ~@1 S@3"), "<EndSearch>"),
    ]


def _write_record() -> list[Unit]:
    """Write `v - o` and the vertex o, if the search for the parent of o has failed."""
    is_new = [*_is("FAILED@0 E@1 -@3 E@6"), "not o is the root"]
    return [
        *say([*is_new, *_is("~@8")], "numeral", _number(9)),
        *say([*is_new, *_is("~@7")], "numeral", _number(8)),
        *say(_is("N@0 FAILED@1 -@4"), "-"),
        *say(_is("-@0 N@1 FAILED@2"), "numeral", _number(4)),
        *say(_is("N@0 -@1 N@2"), "numeral", _number(0)),
    ]


def _move() -> list[Unit]:
    """Write the first vertex, the start of a search, and the way back to the parent."""
    return [
        *say(_is("?@0"), "numeral", {"one": 1.0}),
        *say(_is("N@0 ?@1"), "<StartSearch>"),
        *say(_is("N@0 N@1"), "<StartSearch>"),
        *say(_is("N@0 FAILED@1 not -@4"), "<StartSearch>"),
        *say(_is("E@1 -@3 not E@6"), "<StartSearch>"),  # after the parent of v
        *say(_is("N@0 E@1 ~@3"), "<StartSearch>"),  # after an edge
        *say(_is("N@0 E@1 ~@2"), "<StartSearch>"),
        *say(_is("FAILED@0 E@1 ~@3 N@6"), "numeral", _number(6)),
        *say(_is("FAILED@0 E@1 ~@2 N@5"), "numeral", _number(5)),
    ]


def _judge() -> list[Unit]:
    """Write NO if an edge leads to a vertex of the trace; after the root's last edge, YES if all vertices are there."""
    ends = [_is("FAILED@0 E@1 ~@3 FAILED@6"), _is("FAILED@0 E@1 ~@2 FAILED@5")]
    return [
        *say(_is("N@0 E@1 -@3 E@6"), "NO"),
        *say([*_is("FAILED@0 E@1 -@3 E@6"), "o is the root"], "NO"),
        *(unit for end in ends for unit in say([*end, "all vertices"], "YES")),
        *(unit for end in ends for unit in say([*end, "not all vertices"], "NO")),
    ]
