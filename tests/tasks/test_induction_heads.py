"""Induction heads against a solver that reads the words alone."""

import numpy as np
import pytest
from reading import check_bounds, check_docstring, read_all

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import REGIMES, Author, InductionHeads


def expected_reply(prompt, regime, form="short"):
    place = prompt.index("!")
    if regime == "cot":
        yield from ((str(counted), Author.MODEL) for counted in range(1, place + 1))
    if regime == "retrieval":
        query = ["!"] if form == "short" else [r"(?<!\S)", "!", r"\s+(\S+)"]
        yield from ((piece, Author.MODEL) for piece in ["<StartSearch>", *query, "<EndSearch>"])
        yield prompt[place + 1], Author.RETRIEVER
    yield prompt[place + 1], Author.MODEL


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("regime", "form"), [*((regime, "short") for regime in REGIMES), ("retrieval", "full")])
def test_transcripts_say_what_stood_after_the_first_sign(regime, form, count):
    task, sizes = InductionHeads(20, 6, form), np.resize([3, 4, 20], count)
    transcripts = task.sample(4, np.arange(count), sizes, regime)
    for row, (prompt, reply) in enumerate(read_all(transcripts, task)):
        assert len(prompt) == sizes[row] + 1 and prompt[0] == "<s>" and prompt[-1] == "!" and prompt.count("!") == 2
        assert set(prompt[1:]) <= {"!", "w1", "w2", "w3", "w4", "w5"}
        assert reply == list(expected_reply(prompt, regime, form))
        assert task.vocabulary.decode(transcripts.answers[row]) == [reply[-1][0]]
        assert transcripts.distances[row] == [len(prompt) - 1 - (prompt.index("!") + 1)]


def test_the_place_of_the_sign_and_the_answers_are_uniform():
    transcripts = InductionHeads(vocab_size=5).sample(0, np.arange(20_000), np.full(20_000, 10), "vanilla")
    for drawn, count in ((transcripts.distances, 8), (transcripts.answers, 4)):
        shares = np.unique(drawn, return_counts=True)[1] / 20_000
        assert len(shares) == count and abs(shares - 1 / count).max() < 0.02
    assert InductionHeads(vocab_size=5).chance == 1 / 4


@pytest.mark.parametrize("regime", REGIMES)
def test_replies_reach_their_bounds(regime):
    task = InductionHeads(max_size=8)
    replies = check_bounds(task, 8, regime, 500)
    assert (replies.min(), replies.max()) == (task.shortest_reply(regime), task.longest_reply(8, regime))


def test_the_sample_in_the_docstring_is_well_formed():
    check_docstring(InductionHeads, expected_reply)


@pytest.mark.parametrize("size", [2, 257])
def test_sizes_that_cannot_be_are_refused(size):
    with pytest.raises(UserError, match=f"size must be 3 to 256, got {size}"):
        InductionHeads().sample(0, np.arange(1), np.full(1, size), "cot")


@pytest.mark.parametrize("arguments", [{"max_size": 2}, {"vocab_size": 2}])
def test_nothing_to_find_is_refused(arguments):
    with pytest.raises(UserError, match=r"must be .*, got .*; set data.task.init_args"):
        InductionHeads(**arguments)
