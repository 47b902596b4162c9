"""Selective copying against a solver that reads the words alone."""

import numpy as np
import pytest
from reading import check_bounds, check_docstring, read

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import REGIMES, Author, SelectiveCopying


def expected_reply(prompt, regime, form="short"):
    for place, word in enumerate(prompt):
        if word in ("<s>", "_", "?"):
            continue
        if regime == "vanilla":
            yield f"{{{word}}}", Author.ASKED
            yield "_", Author.PROMPT
            continue
        if regime == "cot":
            yield str(place), Author.MODEL
        if regime == "retrieval":
            query = ["@", str(place)] if form == "short" else [r"^(?:\S+\s+){", str(place), r"}(\S+)"]
            yield from ((piece, Author.MODEL) for piece in ["<StartSearch>", *query, "<EndSearch>"])
            yield word, Author.RETRIEVER
        yield word, Author.MODEL


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("regime", "form"), [*((regime, "short") for regime in REGIMES), ("retrieval", "full")])
def test_transcripts_repeat_what_is_no_noise(regime, form, count):
    task, sizes = SelectiveCopying(20, 6, 3, form), np.resize([3, 8, 20], count)
    transcripts = task.sample(4, np.arange(count), sizes, regime)
    for row, size in enumerate(sizes):
        words, authors = read(transcripts, task, row)
        prompt, rest = words[: size + 2], list(zip(words, authors, strict=True))[size + 2 :]
        places = [at for at, word in enumerate(prompt) if word[0] == "w"]
        assert prompt[0] == "<s>" and prompt[-1] == "?" and prompt.count("_") == size - 3
        assert task.vocabulary.decode(transcripts.answers[row]) == [prompt[at] for at in places]
        if regime == "vanilla":
            assert rest == [("_", Author.ASKED)] * 3
        else:
            assert rest == list(expected_reply(prompt, regime, form))
        asked_at = [size + 1 + (number if regime == "vanilla" else 0) for number in range(3)]
        assert transcripts.distances[row].tolist() == [end - at for end, at in zip(asked_at, places, strict=True)]


def test_all_sets_of_places_and_all_words_are_equally_likely():
    task = SelectiveCopying(max_size=5, vocab_size=4, num_tokens=2)
    transcripts = task.sample(0, np.arange(20_000), np.full(20_000, 5), "vanilla")
    is_word = transcripts.tokens[:, 1:6] != task.vocabulary.encode(["_"])[0]
    sets, shares = np.unique(is_word, axis=0, return_counts=True)
    assert len(sets) == 10 and abs(shares / 20_000 - 1 / 10).max() < 0.01
    drawn = np.unique(transcripts.answers, return_counts=True)[1] / 40_000
    assert len(drawn) == 3 and abs(drawn - 1 / 3).max() < 0.01 and task.chance == 1 / 3


@pytest.mark.parametrize("regime", REGIMES)
def test_replies_reach_their_bounds(regime):
    task = SelectiveCopying(num_tokens=4)
    assert set(check_bounds(task, 9, regime, 200)) == {task.longest_reply(9, regime)} == {task.shortest_reply(regime)}


def test_the_sample_in_the_docstring_is_well_formed():
    check_docstring(SelectiveCopying, expected_reply)


@pytest.mark.parametrize("size", [3, 257])
def test_sizes_that_cannot_be_are_refused(size):
    with pytest.raises(UserError, match=rf"size must be 4 \(num_tokens\) to 256 \(max_size\), got {size}; set data"):
        SelectiveCopying(num_tokens=4).sample(0, np.arange(1), np.full(1, size), "cot")


@pytest.mark.parametrize("arguments", [{"max_size": 0}, {"vocab_size": 2}, {"num_tokens": 0}])
def test_nothing_to_copy_is_refused(arguments):
    with pytest.raises(UserError, match=r"must be .*, got .*; set data.task.init_args"):
        SelectiveCopying(**arguments)
