"""Two sets against Python's own."""

import numpy as np
import pytest
from reading import check_bounds, check_docstring, read_all

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import REGIMES, Author, SetDisjointness


def sets_of(prompt):
    bar = prompt.index("|")
    return prompt[1:bar], prompt[bar + 1 : -1]


def expected_reply(prompt, regime, question="element"):
    first, second = sets_of(prompt)
    common = set(first) & set(second)
    for element in second:
        if regime == "cot":
            yield f"{element}?", Author.MODEL
        elif regime == "retrieval":
            yield from ((word, Author.MODEL) for word in ("<StartSearch>", element, ">", "1", "<EndSearch>"))
            yield (element if element in common else "FAILED"), Author.RETRIEVER
        if element in common:
            break
    yield (("YES" if common else "NO") if question == "whether" else "".join(common)), Author.MODEL


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("distribution", ["random", "razborov"])
@pytest.mark.parametrize("question", ["element", "whether"])
@pytest.mark.parametrize("regime", REGIMES)
def test_transcripts_compare_their_sets(regime, question, distribution, count):
    task = SetDisjointness(40, [0.2, 0.5, 0.8], question, distribution)
    sizes = np.resize([2, 9, 10, 20], count)
    transcripts = task.sample(5, np.arange(count), sizes, regime)
    for row, (prompt, reply) in enumerate(read_all(transcripts, task)):
        (first, second), size = sets_of(prompt), int(sizes[row])
        assert len(set(first)) == len(first) and len(set(second)) == len(second) and len(first) + len(second) == size
        share = [0.2, 0.5, 0.8][transcripts.kinds[row]]
        assert abs(len(first) - size * share) <= 0.5 or size == 2
        assert len(set(first) & set(second)) in ((1,) if question == "element" else (0, 1))
        if distribution == "razborov":
            assert all(int(element[1:]) <= 2 * size - 1 for element in first + second)
        assert (prompt[0], prompt[-1]) == ("<s>", "?") and reply == list(expected_reply(prompt, regime, question))
        assert task.vocabulary.decode(transcripts.answers_of(row)) == [reply[-1][0]]
        told = len(prompt) - 1 - second[::-1].index(reply[-1][0]) - 1 if question == "element" else len(prompt) - 1
        assert transcripts.distances[row, 0] == len(prompt) - 1 - told


def test_half_of_the_problems_share_an_element_at_any_place():
    task = SetDisjointness(31, [0.5], "whether", "razborov")
    transcripts = task.sample(0, np.arange(6000), np.full(6000, 16), "vanilla")
    first, second = transcripts.tokens[:, 1:9], transcripts.tokens[:, 10:18]
    same = first[:, :, None] == second[:, None, :]
    assert abs(same.any((1, 2)).mean() - 1 / 2) < 0.03
    for axis in (1, 2):
        assert abs(same.any(axis)[same.any((1, 2))].mean(0) - 1 / 8).max() < 0.03
    assert task.chance == 1 / 2 and task.kinds == () and SetDisjointness().kinds == ("first_0.2", "first_0.8")


@pytest.mark.parametrize("regime", REGIMES)
def test_replies_reach_their_bounds(regime):
    task = SetDisjointness(20)
    replies = check_bounds(task, 10, regime, 1000)
    assert (replies.min(), replies.max()) == (task.shortest_reply(regime), task.longest_reply(10, regime))


def test_the_sample_in_the_docstring_is_well_formed():
    check_docstring(SetDisjointness, expected_reply)


@pytest.mark.parametrize(("distribution", "most"), [("random", 16), ("razborov", 8)])
@pytest.mark.parametrize("is_too_large", [False, True])
def test_sizes_that_cannot_be_are_refused(distribution, most, is_too_large):
    size = most + 1 if is_too_large else 1
    with pytest.raises(UserError, match=rf"size must be 2 to {most} for num_elements=16, got {size}; set data\.sizes"):
        SetDisjointness(16, distribution=distribution).sample(0, np.arange(1), np.full(1, size), "vanilla")


@pytest.mark.parametrize(
    "arguments",
    [{"num_elements": 2}, {"first_shares": []}, {"first_shares": [1.5]}, {"question": "how many"},
     {"distribution": "hard"}],
)  # fmt: skip
def test_arguments_that_cannot_be_are_refused(arguments):
    with pytest.raises(UserError, match=r"must be .*, got .*"):
        SetDisjointness(**arguments)
