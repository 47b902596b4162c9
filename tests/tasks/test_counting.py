"""Counting against a solver that reads the words alone."""

import numpy as np
import pytest
from reading import check_bounds, check_docstring, read_all

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import REGIMES, Author, Counting

DISTRIBUTIONS = ["random", "random_access_code"]


def parse(prompt):
    return prompt[1 : prompt.index("?")], prompt[-2], int(prompt[-1])


def expected_reply(prompt, regime, form="short"):
    listed, word, threshold = parse(prompt)
    is_more = listed.count(word) > threshold
    if regime == "cot":
        for place, fact in enumerate(listed):
            yield fact, Author.MODEL
            yield str(listed[: place + 1].count(word)), Author.MODEL
    if regime == "retrieval":
        pattern = [r"^(?>.*?(?<!\S)(", word, r")(?!\S)){", str(threshold + 1), r"}(?=.*\s\?)"]
        query = [word, ">", str(threshold)] if form == "short" else pattern
        yield from ((piece, Author.MODEL) for piece in ["<StartSearch>", *query, "<EndSearch>"])
        yield (word if is_more else "FAILED"), Author.RETRIEVER
    yield ("YES" if is_more else "NO"), Author.MODEL


@pytest.mark.parametrize("form", ["short", "full"])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("regime", REGIMES)
def test_ten_thousand_transcripts_answer_their_questions(regime, distribution, form):
    task = Counting(max_size=25, num_words=5, max_threshold=3, distribution=distribution, query_form=form)
    transcripts = task.sample(2, np.arange(10_000), np.resize([1, 2, 7, 25], 10_000), regime)
    for row, (prompt, reply) in enumerate(read_all(transcripts, task)):
        listed, word, threshold = parse(prompt)
        size = transcripts.sizes[row]
        assert prompt[0] == "<s>" and prompt[-3] == "?"
        if distribution == "random":
            assert len(listed) == size and {*listed, word} <= set("12345") and 0 <= threshold <= min(3, size - 1)
            assert listed.count(word) in (threshold, threshold + 1), "as close as can be"
        else:
            assert listed == sorted(set(listed), key=int) and {*listed, word} <= set(map(str, range(1, size + 1)))
            assert threshold == 0
        assert reply == list(expected_reply(prompt, regime, form))
        assert task.vocabulary.decode(transcripts.answers[row]) == [reply[-1][0]]
        assert transcripts.distances[row] == [0]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_answers_are_balanced_at_every_threshold(distribution):
    task = Counting(max_size=16, num_words=4, max_threshold=3, distribution=distribution)
    transcripts = task.sample(0, np.arange(40_000), np.full(40_000, 16), "vanilla")
    thresholds = transcripts.tokens[np.arange(40_000), transcripts.prompt_length - 1]
    for threshold in np.unique(thresholds):
        is_yes = transcripts.answers[thresholds == threshold, 0] == task.answer_words[0]
        assert abs(is_yes.mean() - 0.5) < 0.03, "six standard deviations of 10,000 fair coins"
    assert len(np.unique(thresholds)) == (4 if distribution == "random" else 1)


def test_the_code_is_of_fair_bits_and_every_one_is_asked_for_alike():
    task = Counting(max_size=8, distribution="random_access_code")
    transcripts = task.sample(0, np.arange(20_000), np.full(20_000, 8), "vanilla")
    facts = [parse(prompt)[:2] for prompt, _ in read_all(transcripts, task)]
    bits = np.array([[str(place) in listed for place in range(1, 9)] for listed, _ in facts], float)
    assert abs(bits.mean(0) - 1 / 2).max() < 0.02 and abs(np.corrcoef(bits.T) - np.eye(8)).max() < 0.04
    assert abs(np.unique([word for _, word in facts], return_counts=True)[1] / 20_000 - 1 / 8).max() < 0.02


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("regime", REGIMES)
def test_replies_keep_to_their_bounds(regime, distribution):
    task = Counting(max_size=8, distribution=distribution)
    assert check_bounds(task, 3, regime).max() == task.longest_reply(3, regime)


def test_the_sample_in_the_docstring_is_well_formed():
    check_docstring(Counting, expected_reply)


@pytest.mark.parametrize("size", [0, 9])
def test_sizes_that_cannot_be_are_refused(size):
    with pytest.raises(
        UserError, match=f"size must be 1 to 8, got {size}; set data.sizes or data.task.init_args.max_size"
    ):
        Counting(max_size=8).sample(0, np.arange(1), np.full(1, size), "cot")


@pytest.mark.parametrize("arguments", [{"max_size": 0}, {"num_words": 1}, {"max_threshold": -1}])
def test_nothing_to_count_is_refused(arguments):
    with pytest.raises(UserError, match=r"must be .*, got .*; set data.task.init_args"):
        Counting(**arguments)
