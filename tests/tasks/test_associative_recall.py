"""Associative recall against a solver that reads the words alone."""

import numpy as np
import pytest

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import REGIMES, AssociativeRecall, Author

ENDED = [f"{regime}:" for regime in REGIMES]


def expected_reply(pairs, queries, regime):
    """What follows the prompt, word by word with its author, each later query included."""
    keys = [key for key, _ in pairs]
    for turn, query in enumerate(queries):
        value = dict(pairs)[query]
        if turn:
            yield query, Author.PROMPT
        if regime == "cot":
            yield from ((key, Author.MODEL) for key in keys[: keys.index(query) + 1])
        if regime == "retrieval":
            yield from ((word, Author.MODEL) for word in ("<StartSearch>", query, "<EndSearch>"))
            yield value, Author.RETRIEVER
        yield value, Author.MODEL


@pytest.mark.parametrize("num_queries", [1, 4])
@pytest.mark.parametrize("regime", REGIMES)
def test_ten_thousand_transcripts_answer_their_queries(regime, num_queries):
    task = AssociativeRecall(num_keys=20, num_values=5, num_queries=num_queries)
    sizes = np.resize([8, 10, 16, 40], 10_000)
    transcripts = task.sample(5, np.arange(10_000), sizes, regime)
    for row, size in enumerate(sizes):
        words = task.vocabulary.decode(transcripts.tokens[row, : transcripts.length[row]])
        authors = transcripts.author[row, : transcripts.length[row]]
        listed = words[1 : size + 1]
        pairs = list(zip(listed[::2], listed[1::2], strict=True))
        asked = [word for at, word in enumerate(words) if authors[at] == Author.PROMPT and at > size + 1]
        assert words[0] == "<s>" and words[size + 1] == "?" and transcripts.prompt_length[row] == size + 3
        assert len(set(listed[::2])) == size // 2, "no key comes twice"
        assert len(set(asked)) == len(asked) == num_queries, "no key is asked for twice"
        assert all(key[0] == "k" and value[0] == "v" for key, value in pairs)
        expected = list(expected_reply(pairs, asked, regime))
        assert list(zip(words[size + 3 :], authors[size + 3 :], strict=True)) == expected
        assert task.vocabulary.decode(transcripts.answers[row]) == [dict(pairs)[key] for key in asked]


def test_keys_values_and_queries_are_uniform():
    task = AssociativeRecall(num_keys=8, num_values=4)
    transcripts = task.sample(0, np.arange(20_000), np.full(20_000, 8), "vanilla")
    first_key, first_value, asked = transcripts.tokens[:, 1], transcripts.tokens[:, 2], transcripts.tokens[:, 10]
    place = (transcripts.tokens[:, 1:9:2] == asked[:, None]).argmax(1)
    for drawn, count in ((first_key, 8), (first_value, 4), (place, 4)):
        shares = np.unique(drawn, return_counts=True)[1] / 20_000
        assert len(shares) == count and abs(shares - 1 / count).max() < 0.02


@pytest.mark.parametrize("regime", REGIMES)
def test_replies_keep_to_their_bounds(regime):
    task = AssociativeRecall(num_keys=8, num_values=4, num_queries=2)
    transcripts = task.sample(0, np.arange(2000), np.full(2000, 8), regime)
    replies = transcripts.length - transcripts.prompt_length
    assert task.shortest_reply(regime) <= replies.min() <= replies.max() <= task.longest_reply(8, regime)


def test_the_sample_in_the_docstring_is_well_formed():
    lines = [line.split() for line in AssociativeRecall.__doc__.splitlines()]
    shown = {words[0].rstrip(":"): words[1:] for words in lines if words and words[0] in ("prompt:", *ENDED)}
    listed = shown["prompt"][1:7]
    pairs = list(zip(listed[::2], listed[1::2], strict=True))
    for regime in REGIMES:
        reply = expected_reply(pairs, [shown["prompt"][-1]], regime)
        assert shown[regime] == [f"[{word}]" if by == Author.RETRIEVER else word for word, by in reply]


@pytest.mark.parametrize(
    ("arguments", "size", "said"),
    [
        ({}, 7, "size=7 words are no list of pairs"),
        ({}, 0, "size=0 words"),
        ({"num_keys": 4}, 10, r"needs 5 distinct keys, but num_keys=4; raise data\.task"),
        ({"num_queries": 3}, 4, "has 2 pairs, but num_queries=3; lower"),
    ],
)
def test_sizes_that_cannot_be_are_refused(arguments, size, said):
    with pytest.raises(UserError, match=said):
        AssociativeRecall(**arguments).sample(0, np.arange(1), np.full(1, size), "vanilla")


def test_nothing_to_recall_is_refused():
    with pytest.raises(UserError, match="leave nothing to recall"):
        AssociativeRecall(num_values=1)
