"""Theorem 5.7: a linear RNN of constant size with one Transformer layer on top, which decides IsTree.

The paper finds the next edge of a vertex by doubling a distance, in O(n log n) words. Here the chain of thought has
only 12 n - 6 words: it first writes the edges again, with links, and then follows the links. `?` is the end of the
prompt:

    ? a x b y  a x b y  ...  -  v p e o  v p e o  ...  YES

An edge `a ~ b` becomes `a x b y` with its links: x is the vertex that the previous edge of a leads to, and y the same
for b. After `-` there is a block for each vertex v of the Euler tour. It has the parent p of v; the vertex e that the
next edge leads to; and o, which is e again or, if e is p, the vertex that the edge after that leads to. The tour
continues at o, and returns to p if there is no o. FAILED stands for a missing vertex. The next edge at v is the one
whose link at v is the child that the tour came from, or FAILED if it came from p. The answer is NO if o has been
visited, or if the tour ends without all vertices.
"""

from lit_retrieval.constructions.attend import all_but, match, match_closest, match_first, write_attention
from lit_retrieval.constructions.feed_forward import (
    Unit,
    add,
    choose,
    indicate,
    say,
    squares,
    where,
    write_feed_forward,
)
from lit_retrieval.constructions.linear_unit import ago, remember, remembered, take_turns, turn
from lit_retrieval.constructions.model import ConstructedModel
from lit_retrieval.constructions.registers import Form, Registers
from lit_retrieval.vocabulary import Vocabulary

_KEPT, _REACH = ("number", "is ?", "is -"), 5
_PARTS, _BLOCK = ("is ?", "is -"), 4  # the word that begins a part of the chain of thought, and the words of a block
_COUNTED = ("is -", "is ~")
_PLACE = ("position", "place", "all edges are listed", "tour has all vertices")
_LIST = ("is end", "end", "before", "other")
_TOUR = ("is visit", "from", "at", "behind", "is nothing", "is parent", "is root")
_FOUND = ("listed", "link", "has link", "next", "has next", "parent", "has parent", "has been")
_SQUARED = ("position", "number", "end", "before", "at", "behind")
_SAID = ("numeral", "FAILED", "-", "YES", "NO")
_IN_LIST = "not sum of is -"


def is_tree(vocabulary: Vocabulary) -> ConstructedModel:
    """IsTree with a chain of thought of 12 n - 6 words for a tree (arXiv:2402.18510, Theorem 5.7)."""
    registers = Registers(
        [*_KEPT, *remembered(_KEPT, _REACH), *_COUNTED, *(f"sum of {name}" for name in _COUNTED),
         *(turn(part, place) for part in _PARTS for place in range(_BLOCK)), *_PLACE, *_LIST, *_TOUR, *_FOUND,
         *(f"square of {name}" for name in _SQUARED), "is <s>", *(f"say {kind}" for kind in _SAID), "say number"], 8
    )  # fmt: skip
    longest = 16 * len(vocabulary)  # words for n vertices; prompt and reply have 15 n - 7 words
    mixers = [
        remember(registers, _KEPT, _REACH, sums=_COUNTED),
        take_turns(registers, _PARTS, _BLOCK),
        write_feed_forward(registers, [*_find_place(), *_read_list(), *_read_tour()]),
        write_feed_forward(registers, _come_back()),
        write_feed_forward(registers, squares(*_SQUARED)),
        write_attention(registers, [
            match(["place"], ["position"], [({"number": 1.0}, "listed")]),
            match_closest(["number"], ["end"], [({"other": 1.0}, "link"), ({"is end": 1.0}, "has link")], longest,
                          all_but("is end")),
            match_closest(["at", "behind"], ["end", "before"],
                          [({"other": 1.0}, "next"), ({"is end": 1.0}, "has next")], longest, all_but("is end")),
            match_first(["number"], ["number"], [
                ({"from": 1.0}, "parent"), ({"is visit": 1.0, ago("is -", 1): -1.0}, "has parent"),
                ({"is visit": 1.0}, "has been"),
            ], longest, all_but("is visit")),
        ]),
        write_feed_forward(registers, [*_write_list(), *_write_tour(), *_move()]),
    ]  # fmt: skip
    return ConstructedModel(vocabulary, registers, mixers)


def _number(lag: int) -> Form:
    return {ago("number", lag): 1.0}


def _find_place() -> list[Unit]:
    """Find the position of the word to copy into the list; after n - 1 edges, the `?` is at 3 (n - 1) + 1."""
    first, second = ({"position": 0.75, "sum of is ~": -2.25, "one": start} for start in (0.25, 0.75))
    return [
        *where([turn("is ?", 0), _IN_LIST], first, "place"),
        *where([turn("is ?", 2), _IN_LIST], second, "place"),
        *indicate({"position": 1.0, "sum of is ~": -7.0}, 1, {"all edges are listed": 1.0}),
        *indicate({"position": 1.0, "sum of is ~": -15.0}, 6, {"tour has all vertices": 1.0}),
    ]


def _read_list() -> list[Unit]:
    """Read the ends of edges in the list, each with link and other end: b at `y`, and a at the word after it."""
    return [
        *_put([turn("is ?", 0), "not is ?", _IN_LIST], 3, 2, 1),
        *_put([turn("is ?", 1), f"not {ago('is ?', 1)}", _IN_LIST], 2, 1, 4),
        *_put(["is -"], 2, 1, 4),
    ]


def _put(conditions: list[str], end: int, before: int, other: int) -> list[Unit]:
    """Store an end of an edge, given how many words ago it, its link and the other end were."""
    return [
        *where(conditions, {"one": 1.0}, "is end"),
        *where(conditions, _number(end), "end"),
        *where(conditions, _number(before), "before"),
        *where(conditions, _number(other), "other"),
    ]


def _read_tour() -> list[Unit]:
    """Read where the tour is, where it came from, and the last word of a block."""
    return [
        *where([turn("is -", 1)], {"one": 1.0}, "is visit"),
        *where([turn("is -", 1), f"not {ago('is -', 1)}"], _number(4), "from"),
        *where([turn("is -", 2), f"not {ago('is -', 2)}"], _number(5), "from"),
        *where([turn("is -", 2)], _number(1), "at"),
        *where([turn("is -", 3)], _number(2), "at"),
        *indicate(_number(0), 0, {"is nothing": 1.0}),
        *indicate({**_number(0), ago("number", 1): -1.0}, 0, {"is parent": 1.0}),
        *indicate(_number(2), 0, {"is root": 1.0}),
    ]


def _come_back() -> list[Unit]:
    """Find the link of the edge to look for: at `p` the child that the tour came from, if any; at `e` the parent."""
    return [
        *add({"from": 1.0}, "behind"),
        *choose({"from": 1.0, **{name: -weight for name, weight in _number(0).items()}}, 0, {"from": -1.0}, "behind"),
        *where([turn("is -", 3)], _number(1), "behind"),
    ]


def _say_if(found: str, conditions: list[str], number: Form) -> list[Unit]:
    """Write the number if something has been found, else FAILED."""
    return [*say([*conditions, found], "numeral", number), *say([*conditions, f"not {found}"], "FAILED")]


def _write_list() -> list[Unit]:
    """Write the edges again, each vertex with its link, and the `-` after them."""
    more, links = [turn("is ?", 0), _IN_LIST], ([turn("is ?", place), _IN_LIST] for place in (1, 3))
    return [
        *say([*more, "not all edges are listed"], "numeral", {"listed": 1.0}),
        *say([*more, "all edges are listed"], "-"),
        *say([turn("is ?", 2), _IN_LIST], "numeral", {"listed": 1.0}),
        *(unit for conditions in links for unit in _say_if("has link", conditions, {"link": 1.0})),
    ]


def _write_tour() -> list[Unit]:
    """Write the words of a block after its vertex."""
    again = [turn("is -", 3), "not is nothing"]
    return [
        *say(["is -"], "numeral", {"one": 1.0}),
        *_say_if("has parent", [turn("is -", 1)], {"parent": 1.0}),
        *_say_if("has next", [turn("is -", 2)], {"next": 1.0}),
        *say([turn("is -", 3), "is nothing"], "FAILED"),
        *say([*again, "not is parent"], "numeral", _number(0)),
        *_say_if("has next", [*again, "is parent"], {"next": 1.0}),
    ]


def _move() -> list[Unit]:
    """Write the vertex of the next block, or the verdict."""
    ahead, end = ([turn("is -", 0), "not is -", which] for which in ("not is nothing", "is nothing"))
    return [
        *say([*ahead, "not has been"], "numeral", _number(0)),
        *say([*ahead, "has been"], "NO"),
        *say([*end, "not is root"], "numeral", _number(2)),
        *say([*end, "is root", "tour has all vertices"], "YES"),
        *say([*end, "is root", "not tour has all vertices"], "NO"),
    ]
