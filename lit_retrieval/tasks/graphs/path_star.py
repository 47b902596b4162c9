"""Path-star: a path through one of the arms of a star."""

from typing import Literal, get_args

import numpy as np
from numba import njit

from lit_retrieval.ranges import check_between, check_choice, check_numbers
from lit_retrieval.tasks.graphs.graphs import Ends, shuffle_edges
from lit_retrieval.tasks.queries import search_parent
from lit_retrieval.tasks.random import Counts, Stream, open_stream, shuffle
from lit_retrieval.tasks.task import REGIMES, Regime, Task, Transcripts
from lit_retrieval.tasks.writing import COT, RETRIEVAL, Rows, ask, blank_rows, say
from lit_retrieval.vocabulary import ASK, FIRST_WORD, MOST_WORDS, PARENT, START, Ids, Vocabulary

Target = Literal["first", "path"]


class PathStar(Task):
    """The edges of a directed star, its center and the end of one arm: which way leads there? (arXiv:2403.06963.)

    A path-star graph has `num_paths` paths of the same length from one vertex; edges `from - to` are in random order.
    Each next vertex of the path can be found from a single edge, except the first, which needs the whole path
    backwards. So the task asks for the `first` vertex only, or for the whole `path`; in the paper the path begins with
    the start. A model may answer at once (`vanilla`), write the path from the goal back to the start first (`cot`), or
    search for each parent (`retrieval`). A sample of size 2 with 2 paths, retrieved tokens in brackets::

        prompt:    <s> 3 - 5 1 - 3 1 - 4 4 - 2 ? 1 5
        vanilla:   3
        cot:       <3 <1 3
        retrieval: <StartSearch> - 5 <EndSearch> [3] <StartSearch> - 3 <EndSearch> [1] 3

    The size of a problem is the number of edges in a path.

    Args:
        num_paths: Number of paths from the start.
        num_vertices: Number of vertices in the vocabulary; a problem draws its own without replacement.
        target: The answer: the `first` vertex after the start, or all of the `path` after it, in order.
    """

    def __init__(self, num_paths: int = 5, num_vertices: int = 128, target: Target = "first") -> None:
        numbers = {"num_paths": (num_paths, 2), "num_vertices": (num_vertices, num_paths + 1)}
        check_numbers("data.task.init_args", MOST_WORDS, **numbers)
        check_choice("target", target, get_args(Target))
        self.num_paths = num_paths
        self.num_vertices = num_vertices
        self.target = target
        vertices = [str(vertex) for vertex in range(1, num_vertices + 1)]
        self.vocabulary = Vocabulary([*vertices, *(f"<{vertex}" for vertex in vertices)])
        self.answer_words = np.arange(FIRST_WORD, FIRST_WORD + num_vertices, dtype=np.int32)
        self.chance = 1 / num_paths

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        longest = int(sizes.max())
        width = 4 + 3 * longest * self.num_paths + self.longest_reply(longest, regime)
        rows = blank_rows(len(indices), width, self._num_answers(longest))
        _write_batch(
            np.uint64(seed), indices, sizes, self.num_paths, self.num_vertices, REGIMES.index(regime),
            self.target == "path", rows,
        )  # fmt: skip
        return rows.transcripts(sizes)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The tokens after the prompt; the same for all graphs of a size."""
        return size * {"vanilla": 0, "cot": 1, "retrieval": 5}[regime] + self._num_answers(size)

    def shortest_reply(self, regime: Regime) -> int:
        """The tokens after the prompt for paths of one edge."""
        return self.longest_reply(1, regime)

    def longest_distance(self, size: int, regime: Regime) -> int:
        """From the end of the first edge to the goal."""
        return 3 * size * self.num_paths

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless there are enough vertices for paths of `size` edges."""
        most = (self.num_vertices - 1) // self.num_paths
        check_between("size", size, 1, most, "data.sizes or data.task.init_args.num_vertices")

    def _num_answers(self, size: int) -> int:
        return size if self.target == "path" else 1


@njit(cache=True)
def _write_batch(
    seed: np.uint64, indices: Counts, sizes: Counts, num_paths: int, num_vertices: int, regime: int, is_path: bool,
    rows: Rows,
) -> None:  # fmt: skip
    names, parents = np.arange(num_vertices), np.zeros(FIRST_WORD + num_vertices, np.int32)
    for row in range(len(indices)):
        tokens, author, size = rows.tokens[row], rows.author[row], sizes[row]
        stream = open_stream(seed, indices[row])
        for vertex in range(num_vertices):
            names[vertex] = FIRST_WORD + vertex
        shuffle(stream, names, 1 + size * num_paths)
        ends = _draw_edges(stream, names, size, num_paths)
        at = ask(tokens, author, 0, START)
        for edge in range(len(ends)):
            parents[ends[edge, 1]] = ends[edge, 0]
            at = ask(tokens, author, at, ends[edge, 0])
            at = ask(tokens, author, at, PARENT)
            at = ask(tokens, author, at, ends[edge, 1])
        at = ask(tokens, author, at, ASK)
        at = ask(tokens, author, at, names[0])
        at = rows.prompt_length[row] = ask(tokens, author, at, names[size])
        rows.length[row] = _write_reply(rows, row, at, names[1 : 1 + size], parents, regime, is_path)
        _enter_distances(rows, row, size if is_path else 1)


@njit(cache=True)
def _draw_edges(stream: Stream, names: Counts, size: int, num_paths: int) -> Ends:
    """The edges in random order; the first of `names` is the start, and those of each path follow it."""
    ends = np.empty((size * num_paths, 2), np.int64)
    for edge in range(len(ends)):
        ends[edge, 0], ends[edge, 1] = names[0 if edge % size == 0 else edge], names[edge + 1]
    shuffle_edges(stream, ends)
    return ends


@njit(cache=True)
def _write_reply(rows: Rows, row: int, at: int, path: Counts, parents: Ids, regime: int, is_path: bool) -> int:
    """Write the reply about a `path (size,)` from the vertex after the start; returns the next position."""
    tokens, author = rows.tokens[row], rows.author[row]
    num_vertices = len(parents) - FIRST_WORD
    for back in range(len(path) - 1, -1, -1):
        if regime == COT:
            at = say(tokens, author, at, num_vertices + parents[path[back]])
        elif regime == RETRIEVAL:
            at = search_parent(tokens, author, at, path[back], parents)
    for step in range(len(path) if is_path else 1):
        rows.answers[row, step] = path[step]
        at = say(tokens, author, at, path[step])
    return at


@njit(cache=True)
def _enter_distances(rows: Rows, row: int, count: int) -> None:
    """The distances of the answers, from the edge that ends in each."""
    last = rows.prompt_length[row] - 1
    for place in range(3, last - 2, 3):
        for answer in range(count):
            if rows.tokens[row, place] == rows.answers[row, answer]:
                rows.distances[row, answer] = last - place
