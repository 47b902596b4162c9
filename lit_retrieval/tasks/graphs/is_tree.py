"""IsTree: whether a graph is a tree."""

from typing import Literal, get_args

import numpy as np
from numba import njit

from lit_retrieval.conversation import Authors
from lit_retrieval.ranges import check_choice, check_numbers
from lit_retrieval.retrieval import short_form
from lit_retrieval.tasks.graphs.graphs import Ends, draw_binary_graph, draw_random_graph, shuffle_edges
from lit_retrieval.tasks.queries import search_edge_after, search_first_edge, search_parent
from lit_retrieval.tasks.random import Counts, Stream, open_stream, shuffle
from lit_retrieval.tasks.task import REGIMES, Regime, Task, Transcripts, check_range
from lit_retrieval.tasks.writing import COT, VANILLA, Rows, ask, blank_rows, say
from lit_retrieval.vocabulary import ASK, EDGE, FAILED, FIRST_WORD, MOST_WORDS, PARENT, START, Ids, Vocabulary

Distribution = Literal["binary", "random", "binary_any"]
YES = FIRST_WORD
NO = YES + 1
ROOT = YES + 2  # the word 1: vertex v is the word v, with id ROOT + v - 1
SMALLEST = 4  # on three vertices, two edges always make a tree


class IsTree(Task):
    """Is an undirected graph on n vertices with n - 1 edges a tree? (arXiv:2402.18510, section 4.2.2.)

    The prompt lists the edges in random order. A model may answer at once (`vanilla`), first write the Euler tour of a
    depth-first search from vertex 1 (`cot`, Algorithm 1), or search for each parent and each next edge (`retrieval`,
    Algorithm 2). Vertices are counted at the end, because in many graphs that are not trees the search from vertex 1
    meets no cycle. A sample on 4 vertices, retrieved tokens in brackets::

        prompt:    <s> 2 ~ 3 1 ~ 4 3 ~ 4 ?
        vanilla:   YES
        cot:       1 4 3 2 3 4 1 YES
        retrieval: 1 <StartSearch> - 1 <EndSearch> [FAILED] <StartSearch> 1 ~ <EndSearch> [4]
                   <StartSearch> - 4 <EndSearch> [FAILED] 1 - 4 4 <StartSearch> - 4 <EndSearch> [1]
                   <StartSearch> 4 ~ <EndSearch> [1] <StartSearch> 4 ~ 1 <EndSearch> [3]
                   <StartSearch> - 3 <EndSearch> [FAILED] 4 - 3 3 <StartSearch> - 3 <EndSearch> [4]
                   <StartSearch> 3 ~ <EndSearch> [2] <StartSearch> - 2 <EndSearch> [FAILED] 3 - 2 2
                   <StartSearch> - 2 <EndSearch> [3] <StartSearch> 2 ~ <EndSearch> [3] <StartSearch>
                   2 ~ 3 <EndSearch> [FAILED] 3 <StartSearch> - 3 <EndSearch> [4] <StartSearch> 3 ~
                   2 <EndSearch> [4] <StartSearch> 3 ~ 4 <EndSearch> [FAILED] 4 <StartSearch> - 4
                   <EndSearch> [1] <StartSearch> 4 ~ 3 <EndSearch> [FAILED] 1 <StartSearch> - 1
                   <EndSearch> [FAILED] <StartSearch> 1 ~ 4 <EndSearch> [FAILED] YES

    The size of a problem is its number of vertices.

    Args:
        max_size: The largest number of vertices that the vocabulary has words for.
        distribution: `binary`: two hubs and one more edge, the paper's hard graphs; `random`: random recursive trees,
            half of them with one edge moved so that it closes a cycle; or `binary_any`: as `binary`, but with vertex 1
            and any n - 1 of the others up to `max_size`, so that small graphs use all words of large ones.
        stop_at_cycle: In `cot`, answer NO at the first vertex that was already visited, as the paper's experiments do.
            Otherwise complete the tour, as Algorithm 1 does in print.
    """

    def __init__(self, max_size: int = 128, distribution: Distribution = "binary", stop_at_cycle: bool = True) -> None:
        check_numbers("data.task.init_args", MOST_WORDS, max_size=(max_size, SMALLEST))
        check_choice("distribution", distribution, get_args(Distribution))
        self.max_size = max_size
        self.distribution = distribution
        self.stop_at_cycle = stop_at_cycle
        self.vocabulary = Vocabulary(["YES", "NO", *(str(vertex) for vertex in range(1, max_size + 1))])
        self.answer_words = np.array([YES, NO], np.int32)
        self.chance = 0.5

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        width = 3 * int(sizes.max()) - 1 + self.longest_reply(int(sizes.max()), regime)
        rows = blank_rows(len(indices), width, num_answers=1)
        is_random, regime_number = self.distribution == "random", REGIMES.index(regime)
        choices = self.max_size if self.distribution == "binary_any" else 0
        _write_batch(np.uint64(seed), indices, sizes, is_random, regime_number, self.stop_at_cycle, choices, rows)
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The tokens after the prompt for a tree; the same for all trees on `size` vertices."""
        return {"vanilla": 1, "cot": 2 * size, "retrieval": 37 * size - 25}[regime]

    def shortest_reply(self, regime: Regime) -> int:
        """The tokens after the prompt if vertex 1 has no edge."""
        return {"vanilla": 1, "cot": 2, "retrieval": 12}[regime]

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless there are graphs with `size` vertices, and words for them."""
        check_range(size, SMALLEST, self.max_size)


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, is_random: bool, regime: int, stop_at_cycle: bool, choices: int,
    rows: Rows,
) -> None:  # fmt: skip
    for row in range(len(indices)):
        tokens, author = rows.tokens[row], rows.author[row]
        stream, size = open_stream(seed, indices[row]), sizes[row]
        ends = draw_random_graph(stream, size) if is_random else draw_binary_graph(stream, size)
        shuffle_edges(stream, ends)
        if choices:
            _rename(stream, ends, choices)
        prompt = _write_prompt(tokens, author, ends)
        edges = short_form.index_edges(tokens[:prompt], ROOT + max(size, choices))
        if regime == VANILLA:
            verdict, at = _judge(edges, size), prompt
        elif regime == COT:
            verdict, at = _write_tour(tokens, author, prompt, edges, size, stop_at_cycle)
        else:
            verdict, at = _write_searches(tokens, author, prompt, edges, size)
        rows.length[row] = say(tokens, author, at, verdict)
        rows.prompt_length[row], rows.answers[row, 0] = prompt, verdict


@njit(cache=True)
def _rename(stream: Stream, ends: Ends, choices: int) -> None:
    """Give each vertex but 0 another of `choices` numbers, in place."""
    size = len(ends) + 1
    others = np.arange(1, choices)
    shuffle(stream, others, size - 1)
    for edge in range(len(ends)):
        for side in range(2):
            if ends[edge, side]:
                ends[edge, side] = others[ends[edge, side] - 1]


@njit(cache=True)
def _write_prompt(tokens: Ids, author: Authors, ends: Ends) -> int:
    at = ask(tokens, author, 0, START)
    for edge in range(len(ends)):
        at = ask(tokens, author, at, ROOT + min(ends[edge, 0], ends[edge, 1]))
        at = ask(tokens, author, at, EDGE)
        at = ask(tokens, author, at, ROOT + max(ends[edge, 0], ends[edge, 1]))
    return ask(tokens, author, at, ASK)


@njit(cache=True)
def _judge(edges: tuple[Ids, Ids, Ids], size: int) -> int:
    """The verdict of a tour that is written only to scratch arrays."""
    tokens, author = np.empty(2 * size, np.int32), np.empty(2 * size, np.int8)
    return _write_tour(tokens, author, 0, edges, size, True)[0]


@njit(cache=True)
def _write_tour(
    tokens: Ids, author: Authors, at: int, edges: tuple[Ids, Ids, Ids], size: int, stop_at_cycle: bool
) -> tuple[int, int]:
    """Write Algorithm 1, the Euler tour of a depth-first search from vertex 1; returns verdict and next position."""
    starts, others, _ = edges
    cursor = starts.copy()
    parents = np.full(len(starts) - 1, -1, np.int32)  # -1: not visited
    parents[ROOT] = FAILED
    vertex, visited = ROOT, 1
    while True:
        at = say(tokens, author, at, vertex)
        child = -1
        while child < 0 and cursor[vertex] < starts[vertex + 1]:
            other = others[cursor[vertex]]
            cursor[vertex] += 1
            if parents[other] < 0:
                child = other
            elif other != parents[vertex] and stop_at_cycle:
                return NO, at
        if child >= 0:
            parents[child], vertex = vertex, child
            visited += 1
        elif vertex == ROOT:
            return (YES if visited == size else NO), at
        else:
            vertex = parents[vertex]


@njit(cache=True)
def _write_searches(tokens: Ids, author: Authors, at: int, edges: tuple[Ids, Ids, Ids], size: int) -> tuple[int, int]:
    """Write Algorithm 2, the depth-first search by retrieval; returns the verdict and the next position."""
    parents = np.full(len(edges[0]) - 1, FAILED, np.int32)
    vertex, came_from, visited = ROOT, FAILED, 1
    while True:
        at = say(tokens, author, at, vertex)
        at = search_parent(tokens, author, at, vertex, parents)
        parent = tokens[at - 1]
        if came_from == parent:
            at = search_first_edge(tokens, author, at, vertex, edges)
        else:
            at = search_edge_after(tokens, author, at, vertex, came_from, edges)
        if tokens[at - 1] == parent and parent != FAILED:
            at = search_edge_after(tokens, author, at, vertex, parent, edges)
        other = tokens[at - 1]
        if other != FAILED:
            at = search_parent(tokens, author, at, other, parents)
            if tokens[at - 1] != FAILED or other == ROOT:  # the root is visited, but has no recorded parent
                return NO, at
            at = _record_parent(tokens, author, at, vertex, other, parents)
            visited += 1
            came_from, vertex = vertex, other
        elif parent != FAILED:
            came_from, vertex = vertex, parent
        else:
            return (YES if visited == size else NO), at


@njit(cache=True)
def _record_parent(tokens: Ids, author: Authors, at: int, parent: int, child: int, parents: Ids) -> int:
    record = at
    at = say(tokens, author, at, parent)
    at = say(tokens, author, at, PARENT)
    at = say(tokens, author, at, child)
    short_form.index_parents(tokens[record:at], parents)
    return at
