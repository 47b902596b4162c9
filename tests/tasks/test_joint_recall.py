"""Joint recall against a solver that reads the words alone."""

import numpy as np
import pytest
from reading import check_bounds, check_docstring, read

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import REGIMES, Author, JointRecall


def table_of(prompt):
    """Its contexts in order, each with the values of its keys in order."""
    table, context = {}, None
    listed = iter(prompt[1 : prompt.index("?")])
    for word in listed:
        if word[0] == "c":
            context = table.setdefault(word, {})
        else:
            context[word] = next(listed)
    return table


def reply_to(table, context, key, regime, form="short"):
    value = table[context][key]
    if regime == "cot":
        passed = list(table)[: list(table).index(context) + 1]
        passed += list(table[context])[: list(table[context]).index(key) + 1]
        yield from ((word, Author.MODEL) for word in passed)
    if regime == "retrieval":
        full = [r"(?<!\S)", context, r"\s.*?(?<!\S)", key, r"\s+(\S+)"]
        query = [context, ">", key] if form == "short" else full
        yield from ((piece, Author.MODEL) for piece in ["<StartSearch>", *query, "<EndSearch>"])
        yield value, Author.RETRIEVER
    yield value, Author.MODEL


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("regime", "form"), [*((regime, "short") for regime in REGIMES), ("retrieval", "full")])
def test_transcripts_answer_their_queries(regime, form, count):
    task, sizes = JointRecall(6, 3, 5, 3, form), np.resize([1, 2, 6], count)
    transcripts = task.sample(5, np.arange(count), sizes, regime)
    for row, size in enumerate(sizes):
        words, authors = read(transcripts, task, row)
        start = 2 + 7 * size
        prompt, rest = words[:start], list(zip(words, authors, strict=True))[start:]
        table = table_of(prompt)
        assert prompt[0] == "<s>" and prompt[-1] == "?" and len(table) == size
        assert all(sorted(values) == ["k1", "k2", "k3"] for values in table.values())
        asked = [word for word, by in rest if by == Author.PROMPT]
        places = list(zip(asked[::2], asked[1::2], strict=True))
        assert len(set(places)) == 3 and transcripts.prompt_length[row] == start + 2
        expected = []
        for context, key in places:
            expected += [(context, Author.PROMPT), (key, Author.PROMPT), *reply_to(table, context, key, regime, form)]
        assert rest == expected
        assert task.vocabulary.decode(transcripts.answers[row]) == [table[context][key] for context, key in places]
        ends = [at for at in range(start, len(words) - 1) if (authors[at], authors[at + 1]) == (1, 2)]
        values = [words.index(context) + 2 + 2 * list(table[context]).index(key) for context, key in places]
        assert transcripts.distances[row].tolist() == [end - at for end, at in zip(ends, values, strict=True)]


def test_contexts_orders_values_and_queries_are_uniform():
    task = JointRecall(num_contexts=4, num_keys=3, num_values=5)
    tokens = task.sample(0, np.arange(20_000), np.full(20_000, 2), "vanilla").tokens
    is_first = tokens[:, 16] == tokens[:, 1]
    orders = np.unique(tokens[:, [2, 4, 6]], axis=0, return_inverse=True)[1]
    for drawn, count in ((tokens[:, 8], 4), (orders, 6), (tokens[:, 5], 5), (is_first, 2), (tokens[:, 17], 3)):
        shares = np.unique(drawn, return_counts=True)[1] / 20_000
        assert len(shares) == count and abs(shares - 1 / count).max() < 0.02
    assert task.chance == 1 / 5


@pytest.mark.parametrize("regime", REGIMES)
def test_replies_reach_their_bounds(regime):
    task = JointRecall(num_keys=3)
    replies = check_bounds(task, 2, regime, 500)
    assert (replies.min(), replies.max()) == (task.shortest_reply(regime), task.longest_reply(2, regime))


def test_the_sample_in_the_docstring_is_well_formed():
    check_docstring(JointRecall, lambda prompt, regime: reply_to(table_of(prompt), *prompt[-2:], regime))


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "size must be 1 to 16, got 0"), (17, "size must be 1 to 16, got 17"), (1, "has 2 values, but num_queries=3")],
)
def test_sizes_that_cannot_be_are_refused(size, said):
    with pytest.raises(UserError, match=said):
        JointRecall(num_keys=2, num_queries=3).sample(0, np.arange(1), np.full(1, size), "vanilla")


@pytest.mark.parametrize("arguments", [{"num_contexts": 0}, {"num_keys": 0}, {"num_values": 1}, {"num_queries": 0}])
def test_nothing_to_recall_is_refused(arguments):
    with pytest.raises(UserError, match=r"must be .*, got .*; set data.task.init_args"):
        JointRecall(**arguments)
