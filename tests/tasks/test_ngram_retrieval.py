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


def reply_of_several(listed, query, answer_size, regime, counts, opening, form):
    """The reply where a query of several occurrences asks for several words; `opening` is what a search begins with."""
    place = starts(listed, query)[-1 if counts == "newest" else 0]
    if regime == "cot":
        yield from ((str(counted), Author.MODEL) for counted in range(1, place + 2))
    for after in range(place + len(query), place + len(query) + answer_size):
        if regime == "retrieval":
            phrase, gap = listed[place:after], [r"\s+"] if form == "full" else []
            spread = [piece for name in phrase for piece in (*gap, name)][len(gap) :]
            pieces = [*opening, *spread, *([r"\s+(\S+)"] if form == "full" else [])]
            yield from ((piece, Author.MODEL) for piece in ["<StartSearch>", *pieces, "<EndSearch>"])
            yield listed[after], Author.RETRIEVER
        yield listed[after], Author.MODEL


OPENINGS = {
    ("first", "short"): [], ("newest", "short"): [">"],
    ("first", "full"): [r"(?<!\S)"], ("newest", "full"): [r"^.*(?<!\S)"],
}  # fmt: skip


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("question", "copies", "counts"),
    [("after", 1, "newest"), ("after", 3, "first"), ("after", 3, "newest"), ("before", 1, "first"),
     ("before", 3, "newest")],
)  # fmt: skip
@pytest.mark.parametrize(("regime", "form"), [*((regime, "short") for regime in REGIMES), ("retrieval", "full")])
def test_answers_of_several_words_follow_the_occurrence_that_counts(regime, form, question, copies, counts, count):
    task = NGramRetrieval(30, 9, 4, form, 2, question, copies, counts)
    sizes = np.resize([12, 17, 30], count)
    transcripts = task.sample(2, np.arange(count), sizes, regime)
    searched = OPENINGS["newest" if question == "before" else counts, form]
    for row, (prompt, reply) in enumerate(read_all(transcripts, task)):
        if question == "after":
            query, listed = prompt[-2:], prompt[1:-3]
            assert prompt == ["<s>", *listed, "?", *query]
        else:
            query, listed = prompt[1:3], prompt[4:-1]
            assert prompt == ["<s>", *query, "?", *listed, "?"]
        places = starts(listed, query)
        parts = [place // (sizes[row] // copies) for place in places]
        assert len(listed) == sizes[row] and parts == list(range(copies)), "once in each part"
        assert reply == list(reply_of_several(listed, query, 2, regime, counts, searched, form))
        place = places[-1 if counts == "newest" else 0]
        assert task.vocabulary.decode(transcripts.answers[row]) == listed[place + 2 : place + 4]
        first = place + 2 + (1 if question == "after" else 4)
        assert transcripts.distances[row].tolist() == [len(prompt) - 1 - first, len(prompt) - 1 - (first + 1)]


@pytest.mark.parametrize("regime", REGIMES)
def test_replies_of_several_words_reach_their_bounds(regime):
    task = NGramRetrieval(max_size=8, num_words=20, ngram_size=4, answer_size=2, question="before")
    replies = check_bounds(task, 8, regime)
    assert (replies.min(), replies.max()) == (task.shortest_reply(regime), task.longest_reply(8, regime))


def test_the_first_of_several_occurrences_cannot_be_searched_for_behind_the_question():
    with pytest.raises(UserError, match=r"counts must be newest .*, got first; set data\.task"):
        NGramRetrieval(question="before", copies=2)


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
    assert "`<s> w2 w1 ? w3 w1 w2 w1 w1 w4 ?`" in NGramRetrieval.__doc__


@pytest.mark.parametrize(
    ("arguments", "size", "said"),
    [
        ({"ngram_size": 5}, 4, "size must be 5 to 128, got 4"),
        ({"copies": 4}, 11, "size must be 12 to 128, got 11"),
        ({"max_size": 9}, 10, "size must be 3 to 9, got 10"),
        ({"num_words": 4}, 128, "hardly any 2 words in a row occur only once; raise data.task.init_args.num_words"),
    ],
)
def test_sizes_that_cannot_be_are_refused(arguments, size, said):
    with pytest.raises(UserError, match=said):
        NGramRetrieval(**arguments).sample(0, np.arange(1), np.full(1, size), "cot")


@pytest.mark.parametrize(
    "arguments", [{"max_size": 2}, {"num_words": 1}, {"ngram_size": 1}, {"answer_size": 3}, {"copies": 0}]
)
def test_nothing_to_find_is_refused(arguments):
    with pytest.raises(UserError, match=r"must be .*, got .*; set data.task.init_args"):
        NGramRetrieval(**arguments)
