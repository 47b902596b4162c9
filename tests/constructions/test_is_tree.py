"""The theorems' models for IsTree in the decoding loop: right on every graph, every word included."""

from itertools import combinations, permutations

import networkx
import numpy as np
import pytest

from lit_retrieval.constructions import Theorem47, Theorem53, Theorem57
from lit_retrieval.decoding import begin, generate
from lit_retrieval.errors import UserError
from lit_retrieval.mixers import Attention, ReGLU
from lit_retrieval.retrieval import ShortFormRetriever
from lit_retrieval.tasks import Index, IsTree

REGIMES = {Theorem47: "cot", Theorem53: "retrieval", Theorem57: "vanilla"}
THEOREMS = pytest.mark.parametrize("theorem", REGIMES)


def budget(theorem, task, size):
    """Theorem 5.7 has a chain of thought of its own."""
    return 12 * size - 6 if theorem is Theorem57 else task.longest_reply(size, REGIMES[theorem])


def decode(theorem, task, turns, size, precision="float64"):
    model = theorem(precision).write(task.vocabulary)
    return generate(model, begin(list(turns), task, ShortFormRetriever(), budget(theorem, task, size)))


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


def linked(prompt):
    """Theorem 5.7's chain of thought: the edges with their links, then a block for each vertex of the tour."""
    edges, words, links, others = list(zip(prompt[1::3], prompt[3::3], strict=False)), [], {}, {}
    for edge in edges:
        for vertex in edge:
            words += [vertex, others.get(vertex, "FAILED")]
        for vertex, other in (edge, edge[::-1]):
            links[vertex, others.get(vertex)] = other
            others[vertex] = other
    words.append("-")
    vertex, child, parents = "1", None, {"1": None}
    while True:
        edge = links.get((vertex, child))
        after = links.get((vertex, edge)) if edge and edge == parents[vertex] else edge
        words += [word or "FAILED" for word in (vertex, parents[vertex], edge, after)]
        if after in parents:
            return [*words, "NO"]
        if after:
            parents[after] = vertex
            vertex, child = after, None
        elif parents[vertex]:
            vertex, child = parents[vertex], vertex
        else:
            return [*words, "YES" if len(parents) == len(edges) + 1 else "NO"]


@THEOREMS
def test_every_graph_with_four_vertices_and_three_edges_is_judged_right(theorem):
    task = IsTree(max_size=4)
    prompts, graphs = zip(*every_graph(), strict=True)
    replies = decode(theorem, task, [[task.vocabulary.encode(prompt)] for prompt in prompts], 4)
    right = ["YES" if networkx.is_tree(graph) else "NO" for graph in graphs]
    assert [task.vocabulary.decode(reply.answers) for reply in replies] == [[verdict] for verdict in right]
    assert len(right) == 120 and right.count("YES") == 96, "Cayley: 4 ** 2 trees, in 3! orders"


@pytest.mark.parametrize(("theorem", "chain"), [(Theorem47, tour), (Theorem57, linked)])
def test_what_is_written_about_every_graph_with_four_vertices_and_three_edges(theorem, chain):
    task = IsTree(max_size=4)
    prompts = [prompt for prompt, _ in every_graph()]
    replies = decode(theorem, task, [[task.vocabulary.encode(prompt)] for prompt in prompts], 4)
    assert [task.vocabulary.decode(reply.tokens) for reply in replies] == [
        [*prompt, *chain(prompt)] for prompt in prompts
    ]


# All graphs of four vertices and three edges are tried above.
SIZES = [(8, 250), *(pytest.param(size, 1000, marks=pytest.mark.slow) for size in (8, 16, 32, 64))]


@THEOREMS
@pytest.mark.parametrize("distribution", ["binary", "random"])
@pytest.mark.parametrize(("size", "count"), SIZES)
def test_graphs_are_judged_right_and_every_word_is_the_algorithms(theorem, size, count, distribution):
    task = IsTree(max_size=size, distribution=distribution)
    for start in range(0, count, 250):
        transcripts = task.sample(1, np.arange(start, start + 250), np.full(250, size), REGIMES[theorem])
        replies = decode(theorem, task, [transcripts.turns(row) for row in range(250)], size)
        for row, reply in enumerate(replies):
            expected = task.vocabulary.decode(transcripts.tokens[row, : transcripts.length[row]])
            if theorem is Theorem57:
                expected = [*expected[:-1], *linked(expected[:-1])]
            assert task.vocabulary.decode(reply.tokens) == expected
            assert reply.answers == transcripts.answers[row].tolist()


@THEOREMS
@pytest.mark.parametrize(("size", "count"), [(8, 100), pytest.param(64, 200, marks=pytest.mark.slow)])
def test_float32_is_as_right(theorem, size, count):
    task = IsTree(max_size=size, distribution="random")
    transcripts = task.sample(1, np.arange(count), np.full(count, size), REGIMES[theorem])
    replies = decode(theorem, task, [transcripts.turns(row) for row in range(count)], size, "float32")
    assert [reply.answers for reply in replies] == transcripts.answers.tolist()


@THEOREMS
def test_the_model_does_not_depend_on_the_number_of_vertices(theorem):
    models = [theorem().write(IsTree(max_size=size).vocabulary) for size in (8, 128)]
    described = [(len(model.mixers), model.registers.width, model.num_parameters) for model in models]
    assert described[0] == described[1]
    if theorem is Theorem53:
        assert models[0].state_size(10) == models[1].state_size(5000)


def test_the_chain_of_thought_of_theorem_5_7_is_linear_in_the_number_of_vertices():
    for size in (8, 16):
        path = ["<s>", *(word for vertex in range(1, size) for word in (str(vertex), "~", str(vertex + 1))), "?"]
        assert len(linked(path)) == 12 * size - 6


def test_theorem_5_7_has_one_attention_layer_and_what_is_below_it_remembers_as_much_for_any_length():
    mixers = Theorem57().write(IsTree().vocabulary).mixers
    (top,) = [place for place, mixer in enumerate(mixers) if isinstance(mixer, Attention)]
    assert top == len(mixers) - 2 and isinstance(mixers[-1], ReGLU)
    assert all(mixer.state_size(10) == mixer.state_size(5000) for mixer in mixers[:top])


@THEOREMS
def test_a_task_without_edges_is_refused(theorem):
    with pytest.raises(
        UserError, match=r"theorem \d\.\d writes words that must be in the task's vocabulary, such as 'YES'"
    ):
        theorem().write(Index().vocabulary)
