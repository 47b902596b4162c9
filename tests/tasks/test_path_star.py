"""Paths of a star, walked forwards by a dictionary of next vertices."""

from collections import Counter

import numpy as np
import pytest
from reading import check_bounds, check_docstring, read_all

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import REGIMES, Author, PathStar


def path_to(prompt):
    """The vertices after the start on the way to the goal, found by walking each arm from the start."""
    mark = prompt.index("?")
    start, goal = prompt[mark + 1 :]
    after = {}
    for before, vertex in zip(prompt[1:mark:3], prompt[3:mark:3], strict=True):
        after.setdefault(before, []).append(vertex)
    for vertex in after[start]:
        arm = [vertex]
        while arm[-1] in after:
            (vertex,) = after[arm[-1]]
            arm.append(vertex)
        if arm[-1] == goal:
            return arm
    raise AssertionError("no arm ends at the goal")


def expected_reply(prompt, regime, target="first"):
    path = path_to(prompt)
    for vertex, before in reversed(list(zip(path, [prompt[-2], *path], strict=False))):
        if regime == "cot":
            yield f"<{before}", Author.MODEL
        elif regime == "retrieval":
            yield from ((word, Author.MODEL) for word in ("<StartSearch>", "-", vertex, "<EndSearch>"))
            yield before, Author.RETRIEVER
    yield from ((vertex, Author.MODEL) for vertex in (path if target == "path" else path[:1]))


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("target", ["first", "path"])
@pytest.mark.parametrize("regime", REGIMES)
def test_transcripts_lead_to_their_goal(regime, target, count):
    task, sizes = PathStar(3, 40, target), np.resize([1, 2, 5, 13], count)
    transcripts = task.sample(5, np.arange(count), sizes, regime)
    for row, (prompt, reply) in enumerate(read_all(transcripts, task)):
        size, edges = int(sizes[row]), prompt[1:-3]
        assert (prompt[0], prompt[-3], len(edges), set(edges[1::3])) == ("<s>", "?", 9 * size, {"-"})
        before, vertices = Counter(edges[::3]), edges[2::3]
        assert len(set(vertices)) == 3 * size and before[prompt[-2]] == 3 and prompt[-2] not in vertices
        assert all(count == 1 for vertex, count in before.items() if vertex != prompt[-2])
        assert reply == list(expected_reply(prompt, regime, target))
        answers = path_to(prompt) if target == "path" else path_to(prompt)[:1]
        assert len(path_to(prompt)) == size
        assert task.vocabulary.decode(transcripts.answers_of(row)) == answers
        for answer, distance in zip(answers, transcripts.distances[row], strict=False):
            assert prompt[-1 - distance] == answer and prompt[-2 - distance] == "-"


def test_the_first_vertex_is_any_of_those_around_the_start():
    transcripts = PathStar(4, 13).sample(0, np.arange(8000), np.full(8000, 3), "vanilla")
    starts, places = transcripts.tokens[:, -3], transcripts.tokens[:, 1:37:3]
    is_first = places == starts[:, None]
    assert (is_first.sum(1) == 4).all()
    around = np.sort(np.where(is_first, np.arange(12), 99), 1)[:, :4]
    of_answer = np.argmax(transcripts.tokens[:, 3:37:3] == transcripts.answers, 1)
    shares = (around == of_answer[:, None]).mean(0)
    assert abs(shares - 1 / 4).max() < 0.03, "the order of the edges tells nothing about the answer"
    assert abs(np.unique(transcripts.answers, return_counts=True)[1] / 8000 - 1 / 13).max() < 0.02


@pytest.mark.parametrize("target", ["first", "path"])
@pytest.mark.parametrize("regime", REGIMES)
def test_replies_reach_their_bounds(regime, target):
    task = PathStar(2, 20, target)
    assert set(check_bounds(task, 6, regime, 100)) == {task.longest_reply(6, regime)}
    assert set(check_bounds(task, 1, regime, 100)) == {task.shortest_reply(regime)}


def test_the_sample_in_the_docstring_is_well_formed():
    check_docstring(PathStar, expected_reply)


@pytest.mark.parametrize("size", [0, 4])
def test_sizes_that_cannot_be_are_refused(size):
    with pytest.raises(UserError, match=rf"size must be 1 to 3, got {size}; set data\.sizes or data\.task"):
        PathStar(5, 16).sample(0, np.arange(1), np.full(1, size), "vanilla")


@pytest.mark.parametrize("arguments", [{"num_paths": 1}, {"num_vertices": 5}, {"target": "goal"}])
def test_arguments_that_cannot_be_are_refused(arguments):
    with pytest.raises(UserError, match=r"must be .*, got .*"):
        PathStar(**arguments)
