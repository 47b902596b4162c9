"""The theorems' models for IsTree in the decoding loop: right on every graph, and the two algorithms word for word."""

from itertools import combinations, permutations

import networkx
import numpy as np
import pytest

from lit_retrieval.constructions import Theorem47, Theorem53
from lit_retrieval.decoding import Session, generate
from lit_retrieval.errors import UserError
from lit_retrieval.retrieval import ShortFormRetriever
from lit_retrieval.tasks import Index, IsTree

REGIMES = {Theorem47: "cot", Theorem53: "retrieval"}
THEOREMS = pytest.mark.parametrize("theorem", REGIMES)


def budget(theorem, task, size):
    return task.longest_reply(size, REGIMES[theorem])


def decode(theorem, task, turns, size):
    model, ends = theorem().write(task.vocabulary), frozenset(task.answer_words.tolist())
    retriever, words = ShortFormRetriever(), budget(theorem, task, size)
    return generate(model, [Session(turn, ends, retriever, task.vocabulary, words) for turn in turns])


def every_graph():
    """All graphs with four vertices and three edges, in all orders of the edges: prompt, graph."""
    for chosen in combinations(combinations("1234", 2), 3):
        graph = networkx.Graph(chosen)
        graph.add_nodes_from("1234")
        for edges in permutations(chosen):
            yield ["<s>", *(word for left, other in edges for word in (left, "~", other)), "?"], graph


def tour(prompt):
    """Algorithm 1 on the words of a prompt, with NO as soon as it comes to a vertex again."""
    edges, words, verdict = list(zip(prompt[1::3], prompt[3::3], strict=False)), [], []

    def visit(vertex, parent):
        words.append(vertex)
        for other in [right if vertex == left else left for left, right in edges if vertex in (left, right)]:
            if verdict or other == parent:
                continue
            if other in words:
                verdict.append("NO")
            else:
                visit(other, vertex)
                words.extend([] if verdict else [vertex])

    visit("1", None)
    return [*words, *(verdict or ["YES" if len(words) == 2 * len(edges) + 1 else "NO"])]


@THEOREMS
def test_every_graph_with_four_vertices_and_three_edges_is_judged_right(theorem):
    task = IsTree(max_size=4)
    prompts, graphs = zip(*every_graph(), strict=True)
    replies = decode(theorem, task, [[task.vocabulary.encode(prompt)] for prompt in prompts], 4)
    right = ["YES" if networkx.is_tree(graph) else "NO" for graph in graphs]
    assert [task.vocabulary.decode(reply.answers) for reply in replies] == [[verdict] for verdict in right]
    assert len(right) == 120 and right.count("YES") == 96, "Cayley: 4 ** 2 trees, in 3! orders"


def test_the_tour_of_every_graph_with_four_vertices_and_three_edges_is_algorithm_1s():
    task = IsTree(max_size=4)
    prompts = [prompt for prompt, _ in every_graph()]
    replies = decode(Theorem47, task, [[task.vocabulary.encode(prompt)] for prompt in prompts], 4)
    assert [task.vocabulary.decode(reply.tokens) for reply in replies] == [
        [*prompt, *tour(prompt)] for prompt in prompts
    ]


SIZES = [8, 16, pytest.param(32, marks=pytest.mark.slow), pytest.param(64, marks=pytest.mark.slow)]


@THEOREMS
@pytest.mark.parametrize("distribution", ["binary", "random"])
@pytest.mark.parametrize("size", SIZES)
def test_a_thousand_graphs_are_judged_as_the_algorithm_judges_them_word_for_word(theorem, size, distribution):
    task = IsTree(max_size=size, distribution=distribution)
    for start in range(0, 1000, 250):
        transcripts = task.sample(1, np.arange(start, start + 250), np.full(250, size), REGIMES[theorem])
        replies = decode(theorem, task, [transcripts.turns(row) for row in range(250)], size)
        for row, reply in enumerate(replies):
            assert reply.tokens == transcripts.tokens[row, : transcripts.length[row]].tolist()


@THEOREMS
def test_the_model_does_not_depend_on_the_number_of_vertices(theorem):
    models = [theorem().write(IsTree(max_size=size).vocabulary) for size in (8, 128)]
    described = [(len(model.mixers), model.registers.width, model.num_parameters) for model in models]
    assert described[0] == described[1]
    if theorem is Theorem53:
        assert models[0].state_size(10) == models[1].state_size(5000)


@THEOREMS
def test_a_task_without_edges_is_refused(theorem):
    with pytest.raises(UserError, match=r"theorem \d\.\d says words such as 'YES', which the task has not"):
        theorem().write(Index().vocabulary)
