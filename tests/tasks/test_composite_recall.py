"""Recall by keys of several words against a solver that reads the words alone."""

import numpy as np
import pytest
from reading import check_bounds, check_docstring, read

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import REGIMES, Author, CompositeRecall


def pairs_of(prompt, key_words):
    listed = prompt[1 : prompt.index("?")]
    rows = [listed[at : at + key_words + 1] for at in range(0, len(listed), key_words + 1)]
    return {" ".join(row[:-1]): row[-1] for row in rows}


def reply_to(pairs, key, regime, form="short"):
    if regime == "cot":
        for passed in list(pairs)[: list(pairs).index(key) + 1]:
            yield from ((word, Author.MODEL) for word in passed.split())
    if regime == "retrieval":
        words = key.split()
        spread = [piece for name in words for piece in (r"\s+", name)][1:]
        query = words if form == "short" else [r"(?<!\S)", *spread, r"\s+(\S+)"]
        yield from ((piece, Author.MODEL) for piece in ["<StartSearch>", *query, "<EndSearch>"])
        yield pairs[key], Author.RETRIEVER
    yield pairs[key], Author.MODEL


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("key_words", [2, 3])
@pytest.mark.parametrize(("regime", "form"), [*((regime, "short") for regime in REGIMES), ("retrieval", "full")])
def test_transcripts_answer_their_queries(regime, form, key_words, count):
    task = CompositeRecall(key_words, 4, 5, 2, form)
    sizes = np.resize([2, 4, 7, 16], count) * (key_words + 1)
    transcripts = task.sample(5, np.arange(count), sizes, regime)
    for row, size in enumerate(sizes):
        words, authors = read(transcripts, task, row)
        prompt, rest = words[: size + 2], list(zip(words, authors, strict=True))[size + 2 :]
        pairs = pairs_of(prompt, key_words)
        assert prompt[0] == "<s>" and prompt[-1] == "?" and len(pairs) == size // (key_words + 1), "keys are distinct"
        parts = [set(place) for place in zip(*(key.split() for key in pairs), strict=True)]
        side = next(side for side in range(5) if side**key_words >= len(pairs))
        assert all(len(part) <= side for part in parts)
        if side**key_words == len(pairs):
            assert all(len(part) == side for part in parts), "each combination is a key"
        asked = [word for word, by in rest if by == Author.PROMPT]
        keys = [" ".join(asked[:key_words]), " ".join(asked[key_words:])]
        assert len(set(keys)) == 2
        expected = []
        for key in keys:
            expected += [*((word, Author.PROMPT) for word in key.split()), *reply_to(pairs, key, regime, form)]
        assert rest == expected and transcripts.prompt_length[row] == size + 2 + key_words
        assert task.vocabulary.decode(transcripts.answers[row]) == [pairs[key] for key in keys]
        ends = [at for at in range(size + 2, len(words) - 1) if (authors[at], authors[at + 1]) == (1, 2)]
        values = [(1 + list(pairs).index(key)) * (key_words + 1) for key in keys]
        assert transcripts.distances[row].tolist() == [end - at for end, at in zip(ends, values, strict=True)]


def test_words_values_and_queries_are_uniform():
    task = CompositeRecall(num_words=4, num_values=3)
    tokens = task.sample(0, np.arange(20_000), np.full(20_000, 12), "vanilla").tokens
    asked = (tokens[:, 1:13].reshape(-1, 4, 3)[:, :, :2] == tokens[:, None, 14:16]).all(2).argmax(1)
    for drawn, count in ((tokens[:, 1], 4), (tokens[:, 2], 4), (tokens[:, 3], 3), (asked, 4)):
        shares = np.unique(drawn, return_counts=True)[1] / 20_000
        assert len(shares) == count and abs(shares - 1 / count).max() < 0.02
    assert task.chance == 1 / 3


@pytest.mark.parametrize("regime", REGIMES)
def test_replies_reach_their_bounds(regime):
    task = CompositeRecall(num_words=4)
    replies = check_bounds(task, 12, regime, 500)
    assert (replies.min(), replies.max()) == (task.shortest_reply(regime), task.longest_reply(12, regime))


def test_the_sample_in_the_docstring_is_well_formed():
    def expected(prompt, regime):
        return reply_to(pairs_of(prompt, 2), " ".join(prompt[-2:]), regime)

    check_docstring(CompositeRecall, expected)


@pytest.mark.parametrize("size", [0, 7, 51])
def test_sizes_that_cannot_be_are_refused(size):
    said = f"a multiple of key_words . 1 = 3, from 6 for num_queries=2 to 48 for num_words=4, got {size}; set data"
    with pytest.raises(UserError, match=said):
        CompositeRecall(num_words=4, num_queries=2).sample(0, np.arange(1), np.full(1, size), "vanilla")


@pytest.mark.parametrize("arguments", [{"num_values": 1}, {"num_words": 1}, {"key_words": 1}, {"key_words": 9}])
def test_nothing_to_recall_is_refused(arguments):
    with pytest.raises(UserError, match=r"must be .*, got .*; set data.task.init_args"):
        CompositeRecall(**arguments)
