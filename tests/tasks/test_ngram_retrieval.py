"""c-gram retrieval against a solver that reads the words alone."""

import numpy as np
import pytest
from reading import check_bounds, check_docstring, read_all

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import REGIMES, Author, NGramRetrieval


def starts(listed, query):
    return [place for place in range(len(listed)) if listed[place : place + len(query)] == query]


def expected_reply(prompt, regime, form="short"):
    listed, query = prompt[1 : prompt.index("?")], prompt[prompt.index("?") + 1 :]
    (start,) = starts(listed, query)
    word = listed[start + len(query)]
    if regime == "cot":
        yield from ((str(counted), Author.MODEL) for counted in range(1, start + 2))
    if regime == "retrieval":
        spread = [piece for name in query for piece in (r"\s+", name)]
        pieces = query if form == "short" else [r"(?<!\S)", *spread[1:], r"\s+(\S+)"]
        yield from ((piece, Author.MODEL) for piece in ["<StartSearch>", *pieces, "<EndSearch>"])
        yield word, Author.RETRIEVER
    yield word, Author.MODEL


@pytest.mark.parametrize("form", ["short", "full"])
@pytest.mark.parametrize("ngram_size", [2, 3, 4])
@pytest.mark.parametrize("regime", REGIMES)
def test_transcripts_answer_their_questions(regime, ngram_size, form):
    count = 10_000 if ngram_size == 3 else 1000
    task = NGramRetrieval(max_size=25, num_words=12, ngram_size=ngram_size, query_form=form)
    transcripts = task.sample(2, np.arange(count), np.resize([4, 5, 11, 25], count), regime)
    for row, (prompt, reply) in enumerate(read_all(transcripts, task)):
        size = transcripts.sizes[row]
        assert prompt[0] == "<s>" and prompt[size + 1] == "?" and len(prompt) == size + 1 + ngram_size
        assert set(prompt[1 : size + 1]) <= {f"w{word}" for word in range(1, 13)}
        assert reply == list(expected_reply(prompt, regime, form))
        assert task.vocabulary.decode(transcripts.answers[row]) == [reply[-1][0]]
        (start,) = starts(prompt[: size + 1], prompt[size + 2 :])
        assert transcripts.distances[row] == [len(prompt) - 1 - (start + ngram_size - 1)]


def test_every_ngram_is_asked_for_alike():
    task = NGramRetrieval(max_size=10, num_words=200)
    transcripts = task.sample(0, np.arange(20_000), np.full(20_000, 10), "vanilla")
    shares = np.unique(transcripts.distances, return_counts=True)[1] / 20_000
    assert len(shares) == 8 and abs(shares - 1 / 8).max() < 0.02
    assert task.chance == 1 / 200 and len(np.unique(transcripts.answers)) == 200


@pytest.mark.parametrize("regime", REGIMES)
def test_replies_reach_their_bounds(regime):
    task = NGramRetrieval(max_size=8, num_words=20)
    replies = check_bounds(task, 8, regime)
    assert (replies.min(), replies.max()) == (task.shortest_reply(regime), task.longest_reply(8, regime))


def test_the_sample_in_the_docstring_is_well_formed():
    check_docstring(NGramRetrieval, expected_reply)


@pytest.mark.parametrize(
    ("arguments", "size", "said"),
    [
        ({"ngram_size": 5}, 4, "size must be 5 to 128, got 4"),
        ({"max_size": 9}, 10, "size must be 3 to 9, got 10"),
        ({"num_words": 4}, 128, "hardly any 2 words in a row occur only once; raise data.task.init_args.num_words"),
    ],
)
def test_sizes_that_cannot_be_are_refused(arguments, size, said):
    with pytest.raises(UserError, match=said):
        NGramRetrieval(**arguments).sample(0, np.arange(1), np.full(1, size), "cot")


@pytest.mark.parametrize("arguments", [{"max_size": 2}, {"num_words": 1}, {"ngram_size": 1}])
def test_nothing_to_find_is_refused(arguments):
    with pytest.raises(UserError, match=r"must be .*, got .*; set data.task.init_args"):
        NGramRetrieval(**arguments)
