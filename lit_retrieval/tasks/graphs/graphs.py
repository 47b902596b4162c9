"""Random graphs on n vertices with n - 1 edges, half of them trees."""

import numpy as np
from numba import njit

from lit_retrieval.tasks.random import Counts, Stream, draw_below, draw_coin, shuffle

Ends = Counts  # the ends of each edge, vertices 0 to `size - 1`, `(size - 1, 2)`


@njit(cache=True)
def draw_binary_graph(stream: Stream, size: int) -> Ends:
    """The graph of Theorem 4.7's proof (arXiv:2402.18510, Figure 3): two hubs and one more edge.

    Every other vertex is joined to one of the hubs with probability 1/2, and the last edge joins two vertices that are
    adjacent in a random order. The graph is a tree exactly when that edge joins the two sides.
    """
    names = np.arange(size)
    shuffle(stream, names, size)
    ends = np.empty((size - 1, 2), np.int64)
    for vertex in range(2, size):
        ends[vertex - 2] = names[draw_coin(stream)], names[vertex]
    chosen = 2 + draw_below(stream, size - 3)
    ends[size - 2] = names[chosen], names[chosen + 1]
    return ends


@njit(cache=True)
def draw_random_graph(stream: Stream, size: int) -> Ends:
    """A random recursive tree; with probability 1/2 one of its edges is moved so that it closes a cycle."""
    names, parents = np.arange(size), np.zeros(size, np.int64)
    shuffle(stream, names, size)
    for vertex in range(1, size):
        parents[vertex] = draw_below(stream, vertex)
    ends = np.empty((size - 1, 2), np.int64)
    for vertex in range(1, size):
        ends[vertex - 1] = names[parents[vertex]], names[vertex]
    if draw_coin(stream):
        _move_edge(stream, parents, names, ends)
    return ends


@njit(cache=True)
def _move_edge(stream: Stream, parents: Counts, names: Counts, ends: Ends) -> None:
    """Remove the edge above a random vertex, and join two vertices of one of the two parts that are not adjacent."""
    while True:
        cut = 1 + draw_below(stream, len(ends))
        left, right = draw_below(stream, len(names)), draw_below(stream, len(names))
        if left == right or parents[left] == right or parents[right] == left:
            continue
        if _is_below(parents, left, cut) == _is_below(parents, right, cut):
            ends[cut - 1] = names[left], names[right]
            return


@njit(cache=True)
def _is_below(parents: Counts, vertex: int, top: int) -> bool:
    """Whether `top` is the vertex or an ancestor of it; parents have smaller numbers than their children."""
    while vertex > top:
        vertex = parents[vertex]
    return vertex == top


@njit(cache=True)
def shuffle_edges(stream: Stream, ends: Ends) -> None:
    """Shuffle the edges in place."""
    for edge in range(len(ends) - 1):
        other = edge + draw_below(stream, len(ends) - edge)
        for side in range(2):
            ends[edge, side], ends[other, side] = ends[other, side], ends[edge, side]
