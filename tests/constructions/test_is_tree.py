"""Theorem 5.3's model in the decoding loop: Algorithm 2, word for word, on every graph."""

from itertools import combinations, permutations

import networkx
import numpy as np
import pytest

from lit_retrieval.constructions import Theorem53
from lit_retrieval.decoding import Session, generate
from lit_retrieval.errors import UserError
from lit_retrieval.retrieval import ShortFormRetriever
from lit_retrieval.tasks import Index, IsTree


def decode(task, turns, size):
    model, ends = Theorem53().write(task.vocabulary), frozenset(task.answer_words.tolist())
    budget = task.longest_reply(size, "retrieval")
    return generate(model, [Session(turn, ends, ShortFormRetriever(), task.vocabulary, budget) for turn in turns])


def test_every_graph_with_four_vertices_and_three_edges_is_judged_right():
    task, prompts, right = IsTree(max_size=4), [], []
    for chosen in combinations(combinations("1234", 2), 3):
        graph = networkx.Graph(chosen)
        graph.add_nodes_from("1234")
        for edges in permutations(chosen):
            words = [word for left, other in edges for word in (left, "~", other)]
            prompts.append([task.vocabulary.encode(["<s>", *words, "?"])])
            right.append("YES" if networkx.is_tree(graph) else "NO")
    replies = decode(task, prompts, 4)
    assert [task.vocabulary.decode(reply.answers) for reply in replies] == [[verdict] for verdict in right]
    assert len(right) == 120 and right.count("YES") == 96, "Cayley: 4 ** 2 trees, in 3! orders"


SIZES = [8, 16, pytest.param(32, marks=pytest.mark.slow), pytest.param(64, marks=pytest.mark.slow)]


@pytest.mark.parametrize("distribution", ["binary", "random"])
@pytest.mark.parametrize("size", SIZES)
def test_a_thousand_graphs_are_judged_as_algorithm_2_judges_them_word_for_word(size, distribution):
    task = IsTree(max_size=size, distribution=distribution)
    for start in range(0, 1000, 250):
        transcripts = task.sample(1, np.arange(start, start + 250), np.full(250, size), "retrieval")
        replies = decode(task, [transcripts.turns(row) for row in range(250)], size)
        for row, reply in enumerate(replies):
            assert reply.tokens == transcripts.tokens[row, : transcripts.length[row]].tolist()


def test_the_model_does_not_depend_on_the_number_of_vertices():
    models = [Theorem53().write(IsTree(max_size=size).vocabulary) for size in (8, 128)]
    assert models[0].num_parameters == models[1].num_parameters
    assert models[0].state_size(10) == models[1].state_size(5000)


def test_a_task_without_edges_is_refused():
    with pytest.raises(UserError, match=r"theorem 5\.3 says words such as 'YES', which the task has not"):
        Theorem53().write(Index().vocabulary)
