"""MQAR against a solver that reads the words alone, and against the law of its gaps."""

import numpy as np
import pytest
from reading import check_bounds, check_docstring, read, read_all

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import MQAR, REGIMES, Author


def answer(words, regime, form, num_pairs):
    """What stands behind each word of the user that is asked for; `words` are the user's own."""
    listed = words[1 : 1 + 2 * num_pairs]
    keys, values = listed[::2], dict(zip(listed[::2], listed[1::2], strict=True))

    def reply(key):
        if regime == "beside":
            yield f"{{{values[key]}}}", Author.ASKED
            return
        if regime == "cot":
            yield from ((passed, Author.MODEL) for passed in keys[: keys.index(key) + 1])
        if regime == "retrieval":
            query = [key] if form == "short" else [r"(?<!\S)", key, r"\s+(\S+)"]
            yield from ((word, Author.MODEL) for word in ["<StartSearch>", *query, "<EndSearch>"])
            yield values[key], Author.RETRIEVER
        yield values[key], Author.MODEL

    return reply


@pytest.mark.parametrize("random_non_queries", [True, False])
@pytest.mark.parametrize(("regime", "form"), [*((regime, "short") for regime in REGIMES), ("retrieval", "full")])
def test_ten_thousand_transcripts_answer_their_questions(regime, random_non_queries, form):
    task = MQAR(20, 3, 0.3, random_non_queries, form, answers="written")
    transcripts = task.sample(2, np.arange(10_000), np.resize([12, 14, 30], 10_000), regime)
    for row, (prompt, rest) in enumerate(read_all(transcripts, task)):
        listed = prompt[1:7]
        assert prompt[0] == "<s>" and len(set(listed)) == 6, "no key comes twice, and no value"
        assert all(word[0] == kind for word, kind in zip(listed, "kv" * 3, strict=True))
        reply, asked, place = answer(prompt, regime, form, 3), [prompt[-1]], 0
        while place < len(rest):
            expected = list(reply(asked[-1]))
            assert rest[place : place + len(expected)] == expected
            place += len(expected)
            user = [word for word, by in rest[place:] if by == Author.PROMPT]
            filled = next((at for at, (_, by) in enumerate(rest[place:]) if by == Author.MODEL), 0)
            assert filled % 2 == (1 if user else 0), "queries are two words apart in `vanilla`"
            if user:
                place += filled
                asked.append(rest[place - 1][0])
            between = user[: filled - 1]
            assert set(between) == {"_"} if between and not random_non_queries else "_" not in between
        assert sorted(asked) == sorted(listed[::2]), "each key is asked for once"
        right = dict(zip(listed[::2], listed[1::2], strict=True))
        assert task.vocabulary.decode(transcripts.answers[row]) == [right[key] for key in asked]
        words, authors = read(transcripts, task, row)
        ends = [at for at in range(len(words) - 1) if (authors[at], authors[at + 1]) == (Author.PROMPT, Author.MODEL)]
        places = [1 + 2 * listed[::2].index(key) + 1 for key in asked]
        assert transcripts.distances[row].tolist() == [end - at for end, at in zip(ends, places, strict=True)]


@pytest.mark.parametrize("random_non_queries", [True, False])
def test_ten_thousand_transcripts_ask_beside_their_words(random_non_queries):
    """Zoology's inputs and labels: the label is beside the key, and another word follows it."""
    task = MQAR(20, 3, 0.3, random_non_queries)
    transcripts = task.sample(2, np.arange(10_000), np.resize([12, 14, 30], 10_000), "vanilla")
    followers = []
    for row in range(10_000):
        words, authors = read(transcripts, task, row)
        listed = words[1:7]
        assert words[0] == "<s>" and len(set(listed)) == 6 and authors[-1] == Author.ASKED
        places = [at for at, by in enumerate(authors) if by == Author.ASKED]
        keys, values = [words[at - 1] for at in places], dict(zip(listed[::2], listed[1::2], strict=True))
        assert set(authors) == {Author.PROMPT, Author.ASKED} and places[0] == transcripts.prompt_length[row]
        assert sorted(keys) == sorted(listed[::2]) and all(at % 2 == 0 and at > 7 for at in places)
        assert task.vocabulary.decode(transcripts.answers[row]) == [values[key] for key in keys]
        given = [1 + 2 * listed[::2].index(key) + 1 for key in keys]
        assert transcripts.distances[row].tolist() == [at - 1 - place for at, place in zip(places, given, strict=True)]
        followers += [words[at] for at in places]
    shares = np.unique(followers, return_counts=True)[1] / len(followers)
    assert abs(shares - 1 / 20).max() < 0.008 if random_non_queries else set(followers) == {"_"}


@pytest.mark.parametrize(("answers", "right"), [("written", (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4), ("beside", 1 / 4)])
def test_values_can_be_guessed_by_elimination_where_answers_are_written(answers, right):
    """Right answers of a model that recalls nothing, and guesses among the values that it has not seen again."""
    task = MQAR(vocab_size=4096, num_kv_pairs=4, answers=answers)
    transcripts = task.sample(0, np.arange(2000), np.full(2000, 64), "vanilla")
    credit = []
    for row, (words, authors) in enumerate(read(transcripts, task, row) for row in range(2000)):
        by = Author.ASKED if answers == "beside" else Author.MODEL
        values, places = set(words[2:9:2]), [at for at, author in enumerate(authors) if author == by]
        for at, answer in zip(places, task.vocabulary.decode(transcripts.answers[row]), strict=True):
            unseen = values - set(words[9:at])
            credit.append((answer in unseen) / max(1, len(unseen)))
    assert abs(np.mean(credit) - right) < 0.01


@pytest.mark.parametrize("regime", REGIMES)
def test_unlisted_fillers_are_uniform_without_the_keys_of_the_pairs(regime):
    def between(random_non_queries):
        task = MQAR(12, 3, 1.0, random_non_queries)
        transcripts = task.sample(2, np.arange(1000), np.full(1000, 30), regime)
        for row in range(1000):
            words, authors = read(transcripts, task, row)
            asked = set(np.flatnonzero(np.isin(authors, [Author.ASKED, Author.MODEL])) - 1)
            is_query = [at in asked and authors[at] == Author.PROMPT for at in range(len(words))]
            users = [at for at in range(7, len(words)) if authors[at] in (Author.PROMPT, Author.ASKED)]
            yield set(words[1:7:2]), [words[at] for at in users if not is_query[at]]

    filled = list(between("unlisted"))
    assert not any(listed & set(words) for listed, words in filled)
    shares = np.unique([word for _, words in filled for word in words], return_counts=True)[1] / 1000
    assert len(shares) == 12, "six keys, of which a sample has three, and six values"
    assert abs(shares / shares.sum() - np.repeat([3 / 6 / 9, 1 / 9], 6)).max() < 0.015
    repeated = [word in listed for listed, words in between(True) for word in words]
    assert abs(np.mean(repeated) - 3 / 12) < 0.02, "Zoology's: P / vocab_size of them"


def gaps(power_a, count):
    """Places of the queries behind the pairs, in pairs of words, `(count, 4)`."""
    task = MQAR(vocab_size=64, num_kv_pairs=4, power_a=power_a, random_non_queries=False)
    transcripts = task.sample(0, np.arange(count), np.full(count, 40), "vanilla")
    is_asked = transcripts.author[:, 1:] == Author.ASKED
    return (np.nonzero(is_asked)[1].reshape(count, 4) - 9) // 2


def test_the_largest_power_leaves_weights_finite():
    task = MQAR(num_kv_pairs=1, power_a=16.0, random_non_queries=False)
    assert len(task.sample(0, np.arange(2), np.full(2, 2**20), "vanilla")) == 2


@pytest.mark.parametrize("power_a", [0.01, 0.5, 1.0])
def test_gaps_follow_the_power_law(power_a):
    """The law of draws without replacement, once more by NumPy's own."""
    weights = np.arange(1, 17) ** (power_a - 1.0)
    rng = np.random.default_rng(0)
    theirs = np.array([rng.choice(16, 4, replace=False, p=weights / weights.sum()) for _ in range(20_000)])
    ours = gaps(power_a, 20_000)
    assert ours.min() == 0 and ours.max() == 15
    shares = [np.bincount(places.ravel(), minlength=16) / 20_000 for places in (ours, theirs)]
    assert abs(shares[0] - shares[1]).max() < 0.025, "six standard deviations of the difference of two such shares"


def test_every_pair_is_asked_for_first_alike():
    task = MQAR(vocab_size=64, num_kv_pairs=4, power_a=1.0, random_non_queries=False)
    distances = task.sample(0, np.arange(20_000), np.full(20_000, 40), "vanilla").distances[:, 0]
    value_places = 9 + 2 * gaps(1.0, 20_000)[:, 0] - distances
    shares = np.unique(value_places, return_counts=True)[1] / 20_000
    assert set(value_places) == {2, 4, 6, 8} and abs(shares - 1 / 4).max() < 0.02


@pytest.mark.parametrize("regime", REGIMES)
def test_replies_reach_their_bounds(regime):
    task = MQAR(vocab_size=8, num_kv_pairs=2)
    replies = check_bounds(task, 10, regime)
    assert (replies.min(), replies.max()) == (task.shortest_reply(regime), task.longest_reply(10, regime))


def test_the_sample_in_the_docstring_is_well_formed():
    def expected(prompt, regime):
        is_beside = regime == "vanilla"
        reply = answer(prompt, "beside" if is_beside else regime, "short", 2)
        for key, user in (("k2", "v3 k5" if is_beside else "k5"), ("k5", "k1" if is_beside else "")):
            yield from reply(key)
            yield from ((word, Author.PROMPT) for word in user.split())

    check_docstring(MQAR, expected)


@pytest.mark.parametrize("size", [30, 33])
def test_sizes_without_room_are_refused(size):
    with pytest.raises(UserError, match=f"size must be an even number, 32 or more for num_kv_pairs=8, got {size}"):
        MQAR().sample(0, np.arange(1), np.full(1, size), "vanilla")


@pytest.mark.parametrize(
    "arguments",
    [{"vocab_size": 2}, {"num_kv_pairs": 0}, *({"power_a": power} for power in [0.0, -1.0, 17.0, np.nan, np.inf])],
)
def test_nothing_to_recall_is_refused(arguments):
    with pytest.raises(UserError, match=r"must be .*, got .*; set data.task.init_args"):
        MQAR(**arguments)


def test_another_filler_is_refused():
    with pytest.raises(UserError, match="random_non_queries must be true or false or unlisted, got 'blank'"):
        MQAR(random_non_queries="blank")


def test_fewer_keys_than_pairs_are_refused():
    with pytest.raises(UserError, match="num_kv_pairs=8 needs as many distinct keys, but vocab_size=8 has 4; raise"):
        MQAR(vocab_size=8)
