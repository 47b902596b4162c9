"""String copying against a solver that reads the words alone."""

import numpy as np
import pytest
from reading import check_bounds, check_docstring, read_all

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import REGIMES, Author, StringCopying


def expected_reply(prompt, regime, form="short"):
    for place, word in enumerate(prompt[1:-1], start=1):
        if regime == "cot":
            yield str(place), Author.MODEL
        if regime == "retrieval":
            query = ["@", str(place)] if form == "short" else [r"^(?:\S+\s+){", str(place), r"}(\S+)"]
            yield from ((piece, Author.MODEL) for piece in ["<StartSearch>", *query, "<EndSearch>"])
            yield word, Author.RETRIEVER
        yield word, Author.MODEL


@pytest.mark.parametrize("form", ["short", "full"])
@pytest.mark.parametrize("regime", REGIMES)
def test_ten_thousand_transcripts_say_it_again(regime, form):
    task = StringCopying(max_size=15, vocab_size=7, query_form=form)
    transcripts = task.sample(2, np.arange(10_000), np.resize([1, 2, 7, 15], 10_000), regime)
    for row, (prompt, reply) in enumerate(read_all(transcripts, task)):
        size = transcripts.sizes[row]
        assert prompt[0] == "<s>" and prompt[-1] == "?" and len(prompt) == size + 2
        assert reply == list(expected_reply(prompt, regime, form))
        assert task.vocabulary.decode(transcripts.answers[row, :size]) == prompt[1:-1]
        assert not transcripts.answers[row, size:].any() and not transcripts.distances[row, size:].any()
        assert transcripts.distances[row, :size].tolist() == list(range(size, 0, -1))


def test_words_are_uniform():
    task = StringCopying(max_size=4, vocab_size=5)
    answers = task.sample(0, np.arange(20_000), np.full(20_000, 4), "vanilla").answers
    shares = np.unique(answers, return_counts=True)[1] / 80_000
    assert len(shares) == 5 and abs(shares - 1 / 5).max() < 0.01 and task.chance == 1 / 5


@pytest.mark.parametrize("regime", REGIMES)
def test_every_reply_has_the_length_of_its_size(regime):
    task = StringCopying(max_size=4, vocab_size=5)
    assert set(check_bounds(task, 4, regime)) == {task.longest_reply(4, regime)}
    assert set(check_bounds(task, 1, regime)) == {task.shortest_reply(regime)}


def test_the_sample_in_the_docstring_is_well_formed():
    check_docstring(StringCopying, expected_reply)


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="vocab_size must be 2 or more, got 1; set data"):
        StringCopying(vocab_size=1)
    with pytest.raises(UserError, match="size must be 1 to 8, got 9"):
        StringCopying(max_size=8).sample(0, np.arange(1), np.full(1, 9), "cot")
