"""IsTree against solvers written a second time, from the paper's pages, on the words alone."""

import networkx
import numpy as np
import pytest
from reading import check_bounds, read, text_of

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import REGIMES, Author, IsTree
from lit_retrieval.tasks.graphs.is_tree import ROOT

SIZES = np.resize([4, 5, 6, 7, 8, 11, 16, 25], 10_000)


def edges_of(prompt):
    assert prompt[0] == "<s>" and prompt[-1] == "?" and prompt[2:-1:3] == ["~"] * (len(prompt) // 3)
    return [(int(left), int(right)) for left, right in zip(prompt[1:-1:3], prompt[3:-1:3], strict=True)]


def neighbors(edges, vertex):
    return [right if left == vertex else left for left, right in edges if vertex in (left, right)]


def algorithm_1(edges, stop_at_cycle):
    """The Euler tour: two stacks, as on page 34."""
    s1, s2, tour = [1], [], []
    while s1:
        vertex = s1[-1]
        tour.append(str(vertex))
        above = s1[-2] if len(s1) > 1 else None
        if stop_at_cycle:
            children = [u for u in neighbors(edges, vertex) if u != above and u not in s2]
            first = children[0] if children else None
            if first in s1:
                return tour
        fresh = [u for u in neighbors(edges, vertex) if u not in s1 and u not in s2]
        s1.append(fresh[0]) if fresh else s2.append(s1.pop())
    return tour


def algorithm_2(edges):
    """The searches, as on page 39; `None` is FAILED. Returns words and verdict; a retrieved word is in a tuple."""
    s1, s2, words, before = [1], [], [], None

    def search(query, found):
        words.extend(["<StartSearch>", *query.split(), "<EndSearch>", (str(found or "FAILED"),)])

    def above(vertex):
        return s1[s1.index(vertex) - 1] if vertex in s1[1:] else None

    def after(vertex, other):
        around = neighbors(edges, vertex)
        rest = around[around.index(other) + 1 :] if other else around
        return rest[0] if rest else None

    while s1:
        vertex = s1[-1]
        words.append(str(vertex))
        father = above(vertex)
        search(f"- {vertex}", father)
        if before != father:
            found = after(vertex, before)
            search(f"{vertex} ~ {before}", found)
        else:
            found = after(vertex, None)
            search(f"{vertex} ~", found)
        if found is not None and found == father:
            found = after(vertex, father)
            search(f"{vertex} ~ {father}", found)
        if found is None:
            s2.append(s1.pop())
            before = vertex
        else:
            search(f"- {found}", above(found))
            if found in s1:
                return words, "NO", s2
            words.extend([str(vertex), "-", str(found)])
            s1.append(found)
            before = vertex
    return words, None, s2


@pytest.fixture(scope="module", params=["binary", "random", pytest.param("binary_any", marks=pytest.mark.slow)])
def task(request):
    return IsTree(max_size=25, distribution=request.param)


@pytest.mark.parametrize("regime", ["cot", "retrieval", pytest.param("vanilla", marks=pytest.mark.slow)])
def test_ten_thousand_transcripts_are_what_the_papers_algorithms_write(task, regime):
    transcripts = task.sample(3, np.arange(10_000), SIZES, regime)
    for row, size in enumerate(SIZES):
        words, authors = read(transcripts, task, row)
        prompt, reply = words[: transcripts.prompt_length[row]], words[transcripts.prompt_length[row] :]
        edges = edges_of(prompt)
        graph = networkx.Graph(edges)
        graph.add_nodes_from([1] if task.distribution == "binary_any" else range(1, size + 1))
        graph.add_nodes_from(range(len(graph) - size, 0))  # vertices without an edge, which may have any word
        assert len(graph) == size and graph.number_of_edges() == len(edges) == size - 1, "n vertices, n - 1 edges"
        verdict = "YES" if networkx.is_tree(graph) else "NO"
        assert task.vocabulary.words[transcripts.answers[row, 0]] == verdict
        if regime == "vanilla":
            expected = [verdict]
        elif regime == "cot":
            expected = [*algorithm_1(edges, stop_at_cycle=True), verdict]
        else:
            searches, found, s2 = algorithm_2(edges)
            assert (found or ("YES" if len(s2) == size else "NO")) == verdict
            expected = [*searches, verdict]
        assert reply == [word[0] if isinstance(word, tuple) else word for word in expected]
        by_model = [Author.RETRIEVER if isinstance(word, tuple) else Author.MODEL for word in expected]
        assert authors == [Author.PROMPT] * len(prompt) + by_model


def test_any_vertices_are_drawn_alike_and_the_graphs_stay_the_same():
    count, size = 10_000, 8
    any_of, first = (
        IsTree(32, kind).sample(0, np.arange(count), np.full(count, size), "vanilla")
        for kind in ("binary_any", "binary")
    )
    assert np.array_equal(any_of.answers, first.answers), "the same graphs, with other names"
    ends = any_of.tokens[:, 1 : 3 * size - 2].reshape(count, size - 1, 3)[:, :, ::2] - ROOT
    assert (ends[:, :, 0] < ends[:, :, 1]).all()
    counts = np.array([len(np.unique(one)) for one in ends])
    assert (counts == size).mean() > 0.9, "names are distinct; a vertex without an edge is in no prompt"
    uses = np.bincount(np.concatenate([np.unique(one) for one in ends]), minlength=32)
    assert uses[0] > 0.9 * count and abs(uses[1:] / (count * 7 / 31) - 1).max() < 0.15


def test_the_tour_without_the_stop_is_algorithm_1_as_printed():
    task = IsTree(max_size=25, distribution="random", stop_at_cycle=False)
    transcripts = task.sample(4, np.arange(2000), SIZES[:2000], "cot")
    for row, size in enumerate(SIZES[:2000]):
        words, _ = read(transcripts, task, row)
        prompt, reply = words[: transcripts.prompt_length[row]], words[transcripts.prompt_length[row] :]
        tour = algorithm_1(edges_of(prompt), stop_at_cycle=False)
        assert reply == [*tour, "YES" if len(tour) == 2 * size - 1 else "NO"], "Lemma C.29"


def test_classes_are_balanced(task):
    answers = task.sample(0, np.arange(20_000), np.full(20_000, 16), "vanilla").answers
    share = (answers == task.answer_words[0]).mean()
    assert abs(share - 0.5) < 0.02, "six standard deviations of 20,000 fair coins are 0.021"


class TwoHubs:
    """What 10,000 two-hub graphs on 32 vertices are made of, read from their prompts.

    The hubs are the two vertices of more than two edges. On 32 vertices, one graph in a million has a hub of fewer; the
    seed is one without.
    """

    def __init__(self):
        task, (count, size) = IsTree(max_size=32), (10_000, 32)
        transcripts = task.sample(5, np.arange(count), np.full(count, size), "vanilla")
        prompts = transcripts.tokens[:, 1 : 3 * (size - 1) + 1].reshape(count, size - 1, 3)
        self.ends = prompts[:, :, ::2] - task.vocabulary.encode(["1"])[0]
        self.is_tree = transcripts.answers[:, 0] == task.answer_words[0]
        rows = np.arange(count)[:, None]
        degrees = np.zeros((count, size), int)
        np.add.at(degrees, (rows, self.ends.reshape(count, -1)), 1)
        self.is_hub = degrees > 2
        assert (self.is_hub.sum(1) == 2).all()
        self.hubs = np.nonzero(self.is_hub)[1].reshape(count, 2)
        self.hub_ends = np.take_along_axis(self.is_hub, self.ends.reshape(count, -1), 1).reshape(self.ends.shape).sum(2)
        self.extra_place = np.argmin(self.hub_ends, 1)
        self.extra = self.ends[rows[:, 0], self.extra_place]
        # Each vertex that is tied to a hub, and the side of it: whether the hub is the one with the larger number.
        hub_of = np.full((count, size), -1)
        for end in (0, 1):
            tied, edges = np.nonzero((self.hub_ends == 1) & ~np.take_along_axis(self.is_hub, self.ends[:, :, end], 1))
            hub_of[tied, self.ends[tied, edges, end]] = self.ends[tied, edges, 1 - end]
        self.is_tied = hub_of >= 0
        self.side = hub_of == self.hubs[:, 1:]
        self.extra_sides = np.take_along_axis(self.side, self.extra, 1)


@pytest.fixture(scope="module")
def two_hubs():
    return TwoHubs()


def test_without_the_extra_edge_a_two_hub_graph_is_two_stars(two_hubs):
    counts = [(two_hubs.hub_ends == ends).sum(1) for ends in range(3)]
    assert (counts[0] == 1).all(), "one edge touches no hub"
    assert (counts[1] == 30).all() and (two_hubs.is_tied != two_hubs.is_hub).all(), "each vertex but a hub has one"
    assert (counts[2] == 0).all(), "the hubs are not tied"


def test_a_two_hub_graph_is_a_tree_exactly_when_the_extra_edge_crosses(two_hubs):
    assert (two_hubs.is_tree == (two_hubs.extra_sides[:, 0] != two_hubs.extra_sides[:, 1])).all()


def test_the_sides_of_a_two_hub_graph_are_fair_and_independent_coins(two_hubs):
    on_the_second = (two_hubs.side & two_hubs.is_tied).sum(1)  # binomial: 30 coins have mean 15 and variance 7.5
    assert abs(on_the_second.mean() - 15) < 6 * (7.5 / 10_000) ** 0.5
    assert abs(on_the_second.var() / 7.5 - 1) < 6 * (2 / 10_000) ** 0.5
    for vertex in range(32):
        sides = two_hubs.side[two_hubs.is_tied[:, vertex], vertex]
        assert abs(sides.mean() - 0.5) < 6 * 0.5 / len(sides) ** 0.5
    for sides in two_hubs.extra_sides.T:
        assert abs(sides.mean() - 0.5) < 6 * 0.005
    assert abs(two_hubs.is_tree.mean() - 0.5) < 6 * 0.005


def test_names_and_places_in_a_two_hub_graph_are_uniform(two_hubs):
    def assert_uniform(drawn, choices):
        counts, share = np.bincount(drawn.ravel(), minlength=choices), drawn.size / choices
        assert len(counts) == choices and abs(counts - share).max() < 6 * share**0.5

    assert_uniform(two_hubs.hubs, 32)
    assert_uniform(two_hubs.extra, 32)
    assert_uniform(two_hubs.extra_place, 31)  # and so is the distance of the extra edge from the end of the prompt


def is_two_hub_graph(edges, size):
    """Whether two stars are left, whose centers it does not touch, when one of the edges is taken away."""
    for extra in edges:
        graph = networkx.Graph(edge for edge in edges if edge != extra)
        graph.add_nodes_from(range(1, size + 1))
        stars = [graph.subgraph(star) for star in networkx.connected_components(graph)]
        centers = [[v for v in star if star.degree(v) == len(star) - 1 and v not in extra] for star in stars]
        if len(stars) == 2 and all(centers):
            return True
    return False


def test_the_smallest_binary_graphs_are_two_hub_graphs_too():
    task, sizes = IsTree(max_size=7), np.resize([4, 5, 6, 7], 400)
    transcripts = task.sample(6, np.arange(400), sizes, "vanilla")
    for row, size in enumerate(sizes):
        assert is_two_hub_graph(edges_of(read(transcripts, task, row)[0][:-1]), size)


def test_many_graphs_that_are_no_tree_show_no_cycle_from_vertex_1():
    task = IsTree(max_size=16)
    transcripts = task.sample(0, np.arange(5000), np.full(5000, 16), "retrieval")
    parent_sign = task.vocabulary.encode(["-"])[0]
    wrong = [row for row in range(5000) if transcripts.answers[row, 0] == task.answer_words[1]]
    # A search that has found a cycle ends with `- v <EndSearch> FOUND NO`, one that has not with a search for an edge.
    shows_cycle = [transcripts.tokens[row, transcripts.length[row] - 5] == parent_sign for row in wrong]
    assert 0.4 < np.mean(shows_cycle) < 0.6


@pytest.mark.parametrize("regime", REGIMES)
def test_every_tree_reaches_the_longest_reply_and_nothing_exceeds_it(task, regime):
    for size in (4, 9, 25):
        replies = check_bounds(task, size, regime, 400)
        is_tree = task.sample(0, np.arange(400), np.full(400, size), regime).answers[:, 0] == task.answer_words[0]
        assert set(replies[is_tree]) == {task.longest_reply(size, regime)}


@pytest.mark.parametrize("regime", REGIMES)
def test_the_shortest_reply_comes_true(task, regime):
    transcripts = task.sample(1, np.arange(400), np.full(400, 4), regime)
    assert (transcripts.length - transcripts.prompt_length).min() == task.shortest_reply(regime)


def test_the_sample_in_the_docstring_is_a_real_one():
    task, shown = IsTree(max_size=4), " ".join(IsTree.__doc__.split())
    for regime in REGIMES:
        transcripts = task.sample(0, np.arange(1), np.full(1, 4), regime)
        words = text_of(transcripts, task, 0).split()
        prompt = transcripts.prompt_length[0]
        assert f" prompt: {' '.join(words[:prompt])} " in shown
        assert f" {regime}: {' '.join(words[prompt:])} " in shown


@pytest.mark.parametrize("size", [-1, 0, 3])
def test_a_size_below_the_smallest_graph_is_refused(size):
    with pytest.raises(UserError, match=f"size must be 4 to 8, got {size}; set data.sizes or data"):
        IsTree(max_size=8).sample(0, np.arange(1), np.full(1, size), "cot")


def test_a_size_above_the_vocabulary_is_refused():
    with pytest.raises(UserError, match=r"size must be 4 to 8, got 9; set data\.sizes or data\.task"):
        IsTree(max_size=8).sample(0, np.arange(1), np.full(1, 9), "cot")


def test_unknown_words_for_graphs_and_regimes_are_refused():
    with pytest.raises(UserError, match="distribution must be binary or random or binary_any, got 'star'"):
        IsTree(distribution="star")
    with pytest.raises(UserError, match="regime must be vanilla or cot or retrieval for IsTree, got 'rag'"):
        IsTree().sample(0, np.arange(1), np.full(1, 8), "rag")
