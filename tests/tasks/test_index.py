"""Index against a solver that reads the words alone."""

import numpy as np
import pytest
from reading import check_bounds, check_docstring, read, read_all

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import REGIMES, Author, Index

# Each with the words that it draws.
DISTRIBUTIONS = {"random": 5, "random_access_code": 2, "separated_code": 2}
CASES = [(one, form) for one in DISTRIBUTIONS for form in ("short", "full")] + [("separated_code", "recall")]


def expected_reply(prompt, regime, form="short"):
    listed, place = prompt[1 : prompt.index("?")], int(prompt[-1])
    word = listed[place - 1]
    if regime == "cot":
        yield from ((str(counted), Author.MODEL) for counted in range(1, place + 1))
    if regime == "retrieval":
        query = {"short": ["@", str(place)], "full": [r"^(?:\S+\s+){", str(place), r"}(\S+)"], "recall": ["w3"]}[form]
        yield from ((piece, Author.MODEL) for piece in ["<StartSearch>", *query, "<EndSearch>"])
        followers = [prompt[at + 1] for at in range(len(prompt) - 1) if prompt[at] == "w3"]
        yield (word if form != "recall" else [*followers, "FAILED"][0]), Author.RETRIEVER
    yield word, Author.MODEL


@pytest.mark.parametrize(("distribution", "form"), CASES)
@pytest.mark.parametrize("regime", REGIMES)
def test_ten_thousand_transcripts_answer_their_questions(regime, distribution, form):
    task = Index(max_size=30, num_words=5, distribution=distribution, query_form=form)
    transcripts = task.sample(2, np.arange(10_000), np.resize([1, 2, 7, 30], 10_000), regime)
    for row, (prompt, reply) in enumerate(read_all(transcripts, task)):
        size = transcripts.sizes[row]
        assert prompt[0] == "<s>" and prompt[size + 1] == "?" and len(prompt) == size + 3
        listed = prompt[1 : size + 1]
        if distribution == "separated_code":
            assert set(listed[1::2]) <= {"w3"} and int(prompt[-1]) % 2 == 1
            listed = listed[::2]
        assert set(listed) <= {f"w{word}" for word in range(1, 1 + DISTRIBUTIONS[distribution])}
        assert reply == list(expected_reply(prompt, regime, form))
        assert task.vocabulary.decode(transcripts.answers[row]) == [reply[-1][0]]
        assert transcripts.distances[row] == [len(prompt) - 1 - int(prompt[-1])]


def test_the_code_is_of_fair_bits_and_every_place_is_asked_for_alike():
    task = Index(max_size=8, num_words=9, distribution="random_access_code")
    transcripts = task.sample(0, np.arange(20_000), np.full(20_000, 8), "vanilla")
    listed, asked = transcripts.tokens[:, 1:9], transcripts.tokens[:, 10]
    assert task.chance == 1 / 2 and abs((listed == listed.min()).mean(0) - 1 / 2).max() < 0.02
    assert abs(np.corrcoef(listed.T) - np.eye(8)).max() < 0.04, "no bit tells anything about another"
    assert abs(np.unique(asked, return_counts=True)[1] / 20_000 - 1 / 8).max() < 0.02


def test_each_second_word_of_a_separated_code_is_a_fair_bit():
    task = Index(max_size=7, num_words=9, distribution="separated_code")
    transcripts = task.sample(0, np.arange(20_000), np.full(20_000, 7), "vanilla")
    listed, asked = transcripts.tokens[:, 1:8:2], transcripts.tokens[:, 9]
    assert (task.chance, task.random_bits(7), task.random_bits(8)) == (1 / 2, 4, 4)
    assert abs((listed == listed.min()).mean(0) - 1 / 2).max() < 0.02
    assert abs(np.unique(asked, return_counts=True)[1] / 20_000 - 1 / 4).max() < 0.02


def test_words_are_uniform():
    task = Index(max_size=8, num_words=4)
    shares = np.unique(task.sample(0, np.arange(20_000), np.full(20_000, 8), "cot").answers, return_counts=True)[1]
    assert len(shares) == 4 and abs(shares / 20_000 - 1 / 4).max() < 0.02


@pytest.mark.parametrize("regime", REGIMES)
def test_replies_keep_to_their_bounds(regime):
    check_bounds(Index(max_size=8, num_words=3), 8, regime)


def test_the_sample_in_the_docstring_is_well_formed():
    check_docstring(Index, expected_reply)


@pytest.mark.parametrize("size", [0, 9])
def test_sizes_that_cannot_be_are_refused(size):
    with pytest.raises(
        UserError, match=f"size must be 1 to 8, got {size}; set data.sizes or data.task.init_args.max_size"
    ):
        Index(max_size=8).sample(0, np.arange(1), np.full(1, size), "cot")


@pytest.mark.parametrize("arguments", [{"max_size": 0}, {"num_words": 1}])
def test_nothing_to_find_is_refused(arguments):
    with pytest.raises(UserError, match=r"must be .*, got .*; set data.task.init_args"):
        Index(**arguments)


def test_unknown_words_for_arguments_are_refused():
    with pytest.raises(
        UserError, match="distribution must be random or random_access_code or separated_code, got 'hard'"
    ):
        Index(distribution="hard")
    with pytest.raises(UserError, match="query_form must be short or full or recall, got 'long'"):
        Index(query_form="long")


def test_numerals_of_several_digits_are_words_like_others():
    task = Index(max_size=30, num_words=3, query_form="full")
    words, authors = read(task.sample(0, np.arange(1), np.full(1, 30), "retrieval"), task, 0)
    assert words[authors.index(Author.MODEL) + 2] == words[31 + 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query_form": "recall"}, "query_form: recall needs distribution: separated_code, got 'random'"),
        ({"distribution": "separated_code", "num_words": 2}, "num_words must be 3 or more for a separated code, got 2"),
    ],
)
def test_a_separated_code_has_three_words_and_a_search_of_its_own(arguments, message):
    with pytest.raises(UserError, match=message):
        Index(**arguments)


@pytest.mark.parametrize("regime", REGIMES)
def test_an_example_is_the_sample_of_its_index_with_what_was_found_in_brackets(regime):
    task = Index(max_size=8, num_words=4)
    sample = task.sample(3, np.arange(5), np.full(5, 6), regime)
    for row in range(5):
        prompt, reply = (task.example(6, regime, row, seed=3)).split("\n")
        found = [f"[{word}]" for word in [prompt.split()[int(prompt.split()[-1])]] if regime == "retrieval"]
        words = task.vocabulary.decode(sample.tokens[row, : sample.length[row]])
        assert f"{prompt} {reply}".replace("[", "").replace("]", "").split() == words
        assert [word for word in reply.split() if word.startswith("[")] == found
