"""Associative recall against a solver that reads the words alone."""

from collections import Counter

import numpy as np
import pytest
from reading import check_bounds, check_docstring, read

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import REGIMES, AssociativeRecall, Author


def expected_reply(pairs, queries, regime, form="short"):
    """What follows the prompt, word by word with its author, each later query included."""
    keys = [key for key, _ in pairs]
    for turn, query in enumerate(queries):
        value = dict(pairs)[query]
        if turn:
            yield query, Author.PROMPT
        if regime == "cot":
            yield from ((key, Author.MODEL) for key in keys[: keys.index(query) + 1])
        if regime == "retrieval":
            words = [query] if form == "short" else [r"(?<!\S)", query, r"\s+(\S+)"]
            yield from ((word, Author.MODEL) for word in ["<StartSearch>", *words, "<EndSearch>"])
            yield value, Author.RETRIEVER
        yield value, Author.MODEL


@pytest.mark.parametrize("distribution", ["random", "random_access_code"])
@pytest.mark.parametrize("num_queries", [1, 4])
@pytest.mark.parametrize(("regime", "form"), [*((regime, "short") for regime in REGIMES), ("retrieval", "full")])
def test_ten_thousand_transcripts_answer_their_queries(regime, num_queries, distribution, form):
    task = AssociativeRecall(20, 5, num_queries, distribution, form)
    sizes = np.resize([8, 10, 16, 40], 10_000)
    transcripts = task.sample(5, np.arange(10_000), sizes, regime)
    for row, size in enumerate(sizes):
        words, authors = read(transcripts, task, row)
        listed = words[1 : size + 1]
        pairs = list(zip(listed[::2], listed[1::2], strict=True))
        places = [at for at, by in enumerate(authors) if by == Author.PROMPT and at > size + 1]
        asked = [words[at] for at in places]
        assert words[0] == "<s>" and words[size + 1] == "?" and transcripts.prompt_length[row] == size + 3
        if distribution == "random":
            assert len(set(listed[::2])) == size // 2, "no key comes twice"
            assert all(key[0] == "k" and value[0] == "v" for key, value in pairs)
        else:
            assert listed[::2] == [f"k{key}" for key in range(1, size // 2 + 1)] and set(listed[1::2]) <= {"v1", "v2"}
        assert len(set(asked)) == len(asked) == num_queries, "no key is asked for twice"
        expected = list(expected_reply(pairs, asked, regime, form))
        assert list(zip(words[size + 3 :], authors[size + 3 :], strict=True)) == expected
        assert task.vocabulary.decode(transcripts.answers[row]) == [dict(pairs)[key] for key in asked]
        values = [1 + listed.index(key) + 1 for key in asked]
        assert transcripts.distances[row].tolist() == [at - value for at, value in zip(places, values, strict=True)]


def test_the_code_is_of_fair_bits_and_every_key_is_asked_for_alike():
    task = AssociativeRecall(distribution="random_access_code")
    transcripts = task.sample(0, np.arange(20_000), np.full(20_000, 16), "vanilla")
    bits, asked = transcripts.tokens[:, 2:17:2], transcripts.tokens[:, 18]
    assert task.chance == 1 / 2 and abs((bits == bits.min()).mean(0) - 1 / 2).max() < 0.02
    assert abs(np.corrcoef(bits.T) - np.eye(8)).max() < 0.04, "no bit tells anything about another"
    assert abs(np.unique(asked, return_counts=True)[1] / 20_000 - 1 / 8).max() < 0.02


def test_keys_values_and_queries_are_uniform():
    task = AssociativeRecall(num_keys=8, num_values=4)
    transcripts = task.sample(0, np.arange(20_000), np.full(20_000, 8), "vanilla")
    first_key, first_value, asked = transcripts.tokens[:, 1], transcripts.tokens[:, 2], transcripts.tokens[:, 10]
    place = (transcripts.tokens[:, 1:9:2] == asked[:, None]).argmax(1)
    for drawn, count in ((first_key, 8), (first_value, 4), (place, 4)):
        shares = np.unique(drawn, return_counts=True)[1] / 20_000
        assert len(shares) == count and abs(shares - 1 / count).max() < 0.02


def overwritten_reply(listed, query, counts, regime, form="short"):
    """The reply about one key of a list in which it comes several times."""
    order = list(zip(listed[::2], listed[1::2], strict=True))[:: -1 if counts == "newest" else 1]
    passed = [key for key, _ in order[: [key for key, _ in order].index(query) + 1]]
    value = next(value for key, value in order if key == query)
    before = {"first": {"short": [], "full": [r"(?<!\S)"]}, "newest": {"short": [">"], "full": [r"^.*(?<!\S)"]}}
    if regime == "cot":
        yield from ((key, Author.MODEL) for key in passed)
    if regime == "retrieval":
        words = [*before[counts][form], query, *([r"\s+(\S+)"] if form == "full" else [])]
        yield from ((word, Author.MODEL) for word in ["<StartSearch>", *words, "<EndSearch>"])
        yield value, Author.RETRIEVER
    yield value, Author.MODEL


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("distribution", ["random", "random_access_code"])
@pytest.mark.parametrize("counts", ["first", "newest"])
@pytest.mark.parametrize(("regime", "form"), [*((regime, "short") for regime in REGIMES), ("retrieval", "full")])
def test_of_several_values_the_first_or_the_newest_counts(regime, form, counts, distribution, count):
    task = AssociativeRecall(9, 5, 2, distribution, form, values_per_key=3, counts=counts)
    sizes = np.resize([12, 18, 54], count)
    transcripts = task.sample(5, np.arange(count), sizes, regime)
    for row, size in enumerate(sizes):
        words, authors = read(transcripts, task, row)
        listed, rest = words[1 : size + 1], list(zip(words, authors, strict=True))[size + 2 :]
        assert set(Counter(listed[::2]).values()) == {3}, "each key comes three times"
        if distribution == "random_access_code":
            assert listed[::2] == [f"k{key}" for key in range(1, size // 6 + 1)] * 3
        asked = [word for word, by in rest if by == Author.PROMPT]
        assert len(set(asked)) == 2
        expected = [turn for key in asked for turn in [(key, Author.PROMPT), *overwritten_reply(
            listed, key, counts, regime, form)]]  # fmt: skip
        assert rest == expected
        values = [at for at in range(2, size + 1, 2) if words[at - 1] in asked]
        ends = [at for at, by in enumerate(authors) if by == Author.PROMPT and at > size + 1]
        for distance, end in zip(transcripts.distances[row], ends, strict=True):
            same = [at for at in values if words[at - 1] == words[end]]
            assert end - distance == (same[-1] if counts == "newest" else same[0])
        assert task.vocabulary.decode(transcripts.answers[row])[-1] == words[-1]


def test_the_order_of_overwritten_keys_is_uniform():
    task = AssociativeRecall(num_keys=2, num_values=4, values_per_key=2)
    keys = task.sample(0, np.arange(20_000), np.full(20_000, 8), "vanilla").tokens[:, 1:9:2]
    orders, shares = np.unique(keys, axis=0, return_counts=True)
    assert len(orders) == 6 and abs(shares / 20_000 - 1 / 6).max() < 0.02


def test_a_code_that_comes_several_times_is_counted_once():
    assert AssociativeRecall(distribution="random_access_code", values_per_key=4).random_bits(64) == 8


@pytest.mark.parametrize("overwritten", [{}, {"values_per_key": 2, "counts": "newest"}])
@pytest.mark.parametrize("regime", REGIMES)
def test_replies_keep_to_their_bounds(regime, overwritten):
    check_bounds(AssociativeRecall(num_keys=8, num_values=4, num_queries=2, **overwritten), 8, regime)


def test_the_sample_in_the_docstring_is_well_formed():
    def expected(prompt, regime):
        listed = prompt[1 : prompt.index("?")]
        yield from expected_reply(list(zip(listed[::2], listed[1::2], strict=True)), [prompt[-1]], regime)

    check_docstring(AssociativeRecall, expected)
    listed = ["k5", "v1", "k2", "v4", "k2", "v3", "k5", "v2"]
    shown = " ".join(word for word, _ in overwritten_reply(listed, "k2", "newest", "cot"))
    assert f"`<s> {' '.join(listed)} ? k2` is answered by `{shown}`" in AssociativeRecall.__doc__


@pytest.mark.parametrize(
    ("arguments", "size", "said"),
    [
        ({}, 7, "size must be an even number, 2 or more, got 7"),
        ({}, 0, "size must be an even number, 2 or more, got 0"),
        ({"num_keys": 4}, 10, r"needs 5 distinct keys, but num_keys=4; raise data\.task"),
        ({"num_queries": 3}, 4, "has 2 pairs, but num_queries=3; lower"),
        ({"values_per_key": 4}, 12, r"a multiple of 2 \* values_per_key = 8, 8 or more, got 12; set data\.sizes"),
        ({"values_per_key": 4, "num_queries": 2}, 8, "has 1 keys, but num_queries=2; lower"),
    ],
)
def test_sizes_that_cannot_be_are_refused(arguments, size, said):
    with pytest.raises(UserError, match=said):
        AssociativeRecall(**arguments).sample(0, np.arange(1), np.full(1, size), "vanilla")


@pytest.mark.parametrize("arguments", [{"num_values": 1}, {"values_per_key": 0}])
def test_nothing_to_recall_is_refused(arguments):
    with pytest.raises(UserError, match=r"must be .*, got .*; set data.task.init_args"):
        AssociativeRecall(**arguments)
