"""Theorem 4.7: a Transformer of constant size that decides IsTree by writing an Euler tour, Algorithm 1 word by word.

The paper counts a vertex's edges and looks for the next count. Here the edges of a vertex are a linked list: each edge
stores, for each of its ends, the vertex that the previous edge leads to from there. So u is enough to find the edge
after the one to u. A token can store an edge only from the edge's second vertex on. This vertex's token stands for the
second end, and the next token stands for the first.
"""

from lit_retrieval.constructions.attend import all_but, look_back, match_closest, match_first, write_attention
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
from lit_retrieval.constructions.linear_unit import ago
from lit_retrieval.constructions.model import ConstructedModel
from lit_retrieval.constructions.registers import Form, Registers
from lit_retrieval.vocabulary import Vocabulary

_REACH = {"number": 4, "is ~": 3, "is <s>": 1}  # number of tokens back at which each is read
_WORDS = ("<s>", "?", "~", "numeral")
_TOKEN = ("position", *(f"is {word}" for word in _WORDS))
_EDGE = ("is end", "end", "other", "is listed", "listed end", "listed other", "other before")
_TOUR = ("is on tour", "is root", "parent", "came from", "next", "next behind parent", "ahead")
_OUTCOME = ("place of ?", "nothing is ahead", "has been ahead", "tour has all vertices")
_SQUARED = ("position", "number", "end", "listed end", "other before", "parent", "came from", "ahead")


def is_tree(vocabulary: Vocabulary) -> ConstructedModel:
    """IsTree with the tour that stops at a cycle (arXiv:2402.18510, Algorithm 1 and Lemma C.27)."""
    registers = Registers(
        [*_TOKEN, *_EDGE, *_TOUR, *_OUTCOME, *(f"square of {name}" for name in _SQUARED),
         *(ago(name, lag) for name, reach in _REACH.items() for lag in range(1, reach + 1)),
         "say numeral", "say YES", "say NO", "say number"], 24
    )  # fmt: skip
    longest = 8 * len(vocabulary)  # the vocabulary has words for n vertices; prompt and tour have 5 n - 1 words
    mixers = [
        write_feed_forward(registers, squares("position")),
        write_attention(registers, [
            look_back(lag, [({name: 1.0}, ago(name, lag)) for name, reach in _REACH.items() if lag <= reach])
            for lag in range(1, 5)
        ]),
        write_feed_forward(registers, [*_read_edges(), *_read_tour()]),
        write_feed_forward(registers, squares("number", "end", "listed end")),
        write_attention(registers, [
            match_closest(["end"], ["listed end"], [({"listed other": 1.0}, "other before")], longest,
                          all_but("is listed")),
            match_first(["number"], ["number"], [({ago("number", 1): 1.0}, "parent")], longest, all_but("is on tour")),
            match_closest([], [], [({"position": 1.0}, "place of ?")], longest, all_but("is ?")),
        ]),
        write_feed_forward(registers, _come_back()),
        write_feed_forward(registers, squares("other before", "parent", "came from")),
        write_attention(registers, [
            match_closest(["number", last], ["end", "other before"], [({"other": 1.0}, found)], longest,
                          all_but("is end"))
            for last, found in (("came from", "next"), ("parent", "next behind parent"))
        ]),
        write_feed_forward(registers, _skip_parent()),
        write_feed_forward(registers, [
            *squares("ahead"), *indicate({"ahead": 1.0}, 0, {"nothing is ahead": 1.0}),
            # A tour of all vertices, 2 n - 1 words, ends at the position 5 n - 3, and the `?` is at 3 n - 2.
            *indicate({"position": 3.0, "place of ?": -5.0}, 1, {"tour has all vertices": 1.0}),
        ]),
        write_attention(registers, [
            match_closest(["ahead"], ["number"], [({"is on tour": 1.0}, "has been ahead")], longest,
                          all_but("is on tour")),
        ]),
        write_feed_forward(registers, _move()),
    ]  # fmt: skip
    return ConstructedModel(vocabulary, registers, mixers)


def _read_edges() -> list[Unit]:
    """Store the ends of edges, each with its other end, and repeat them one token later.

    Later ends match the repeated entry, so that no end finds itself as the previous one.
    """
    return [
        *_put(1, "end", 0, "other", 2, "is end"),
        *_put(2, "end", 3, "other", 1, "is end"),
        *_put(2, "listed end", 1, "listed other", 3, "is listed"),
        *_put(3, "listed end", 4, "listed other", 2, "is listed"),
    ]


def _put(sign: int, end: str, end_ago: int, other: str, other_ago: int, flag: str) -> list[Unit]:
    """Store an edge whose `~` was this many tokens ago, by the lags of its vertices."""
    conditions = [ago("is ~", sign)]
    return [
        *where(conditions, {ago("number", end_ago): 1.0}, end),
        *where(conditions, {ago("number", other_ago): 1.0}, other),
        *where(conditions, {"one": 1.0}, flag),
    ]


def _read_tour() -> list[Unit]:
    """Mark vertices of the tour (outside edges), and vertex 1."""
    no_edge = [f"not {ago(name, lag)}" for name, lag in (("is ~", 1), ("is ~", 2), ("is <s>", 1))]
    return [
        *where(["is numeral", *no_edge], {"one": 1.0}, "is on tour"),
        *indicate({"number": 1.0}, 1, {"is root": 1.0}),
    ]


def _come_back() -> list[Unit]:
    """Find the previous vertex if it is a child; 0 where the tour comes from the parent."""
    before = ago("number", 1)
    return [*add({before: 1.0}, "came from"), *choose({before: 1.0, "parent": -1.0}, 0, {before: -1.0}, "came from")]


def _skip_parent() -> list[Unit]:
    """Find where the next edge leads, or the one after it if the next leads to the parent (vertex 1 has no parent).

    0 stands for no edge, and for no parent.
    """
    is_parent: Form = {"next": 1.0, "parent": -1.0, "is root": 1.0}
    return [*add({"next": 1.0}, "ahead"), *choose(is_parent, 0, {"next behind parent": 1.0, "next": -1.0}, "ahead")]


def _move() -> list[Unit]:
    """Write the next vertex, or the verdict."""
    child = ["is on tour", "not nothing is ahead", "not has been ahead"]
    parent = ["is on tour", "nothing is ahead", "not is root"]
    end = ["is on tour", "nothing is ahead", "is root"]
    return [
        *say(["is ?"], "numeral", {"one": 1.0}),
        *say(child, "numeral", {"ahead": 1.0}),
        *say(parent, "numeral", {"parent": 1.0}),
        *say(["is on tour", "has been ahead"], "NO"),
        *say([*end, "tour has all vertices"], "YES"),
        *say([*end, "not tour has all vertices"], "NO"),
    ]
