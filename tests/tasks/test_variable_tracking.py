"""Assignments that are executed one after the other, as a program."""

import numpy as np
import pytest
from reading import check_bounds, check_docstring, read_all

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import Author, VariableTracking


def execute(prompt):
    """The value of each variable after the assignments of a prompt, in the order of the assignments."""
    facts, values = iter(prompt[1 : prompt.index("?")]), {}
    for word in facts:
        if word != "_":
            assert next(facts) == "-" and word not in values
            source = next(facts)
            values[word] = source if source[0] == "v" else values[source]
    return values


def expected_reply(prompt, regime):
    source = prompt[-1]
    for variable, value in execute(prompt).items():
        if value == prompt[-1]:
            if regime == "retrieval":
                yield from ((word, Author.MODEL) for word in ("<StartSearch>", "-", source, "<EndSearch>"))
                yield variable, Author.RETRIEVER
            yield variable, Author.MODEL
            source = variable


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("num_chains", [1, 3])
@pytest.mark.parametrize("regime", VariableTracking.regimes)
def test_transcripts_name_the_variables_of_the_value(regime, num_chains, count):
    task, sizes = VariableTracking(num_chains, 3, 14, 4), np.resize([36, 37, 60], count)
    transcripts = task.sample(5, np.arange(count), sizes, regime)
    for row, (prompt, reply) in enumerate(read_all(transcripts, task)):
        held = list(execute(prompt).values())
        assert len(prompt) == sizes[row] + 3 and prompt[0] == "<s>" and prompt[-2] == "?"
        assert sorted(map(held.count, set(held))) == [4] * num_chains
        assert prompt.count("_") == sizes[row] - 12 * num_chains
        assert reply == list(expected_reply(prompt, regime))
        answers = [variable for variable, value in execute(prompt).items() if value == prompt[-1]]
        assert task.vocabulary.decode(transcripts.answers_of(row)) == answers
        at = len(prompt) - 1 - transcripts.distances[row]
        assert [prompt[place] for place in at] == answers
        assert all(prompt[place + 1] == "-" for place in at), "the place where a variable is set"


def test_the_order_of_the_chains_and_the_places_of_the_noise_are_uniform():
    task = VariableTracking(2, 1, 4, 2)
    transcripts = task.sample(0, np.arange(6000), np.full(6000, 14), "vanilla")
    noise = transcripts.tokens[:, 1] == task.vocabulary.encode(["_"])[0]
    assert abs(noise.mean() - 2 / 6) < 0.03, "two tokens of noise among four assignments"
    chains = []
    for prompt, _ in read_all(transcripts, task):
        held = execute(prompt)
        chains.append("".join("a" if value == prompt[-1] else "b" for value in held.values()))
    shares = np.unique(chains, return_counts=True)[1] / 6000
    assert len(shares) == 6 and abs(shares - 1 / 6).max() < 0.03
    assert abs(np.unique(transcripts.answers, return_counts=True)[1] / 12_000 - 1 / 4).max() < 0.03


@pytest.mark.parametrize("regime", VariableTracking.regimes)
def test_replies_reach_their_bounds(regime):
    task = VariableTracking()
    assert set(check_bounds(task, 20, regime, 100)) == {task.longest_reply(20, regime)} == {task.shortest_reply(regime)}


def test_the_sample_in_the_docstring_is_well_formed():
    check_docstring(VariableTracking, expected_reply)


def test_sizes_without_room_for_the_assignments_are_refused():
    with pytest.raises(UserError, match=r"size must be 30 or more for num_chains=2 and num_hops=4, got 29; set data"):
        VariableTracking(2).sample(0, np.arange(1), np.full(1, 29), "vanilla")


@pytest.mark.parametrize("arguments", [{"num_variables": 4}, {"num_chains": 2, "num_values": 1}, {"num_hops": 0}])
def test_arguments_that_cannot_be_are_refused(arguments):
    with pytest.raises(UserError, match=r"must be .*, got .*"):
        VariableTracking(**arguments)
