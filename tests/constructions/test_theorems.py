"""The theorems' models in the decoding loop, with the search really run: right on everything, or not at all."""

from itertools import permutations, product

import numpy as np
import pytest
from reading import read_all

from lit_retrieval.constructions import Theorem46, Theorem52, Theorem56
from lit_retrieval.decoding import begin, generate
from lit_retrieval.errors import UserError
from lit_retrieval.retrieval import RegularExpressionRetriever
from lit_retrieval.tasks import AssociativeRecall, Counting, Index, NGramRetrieval

CODE = "random_access_code"
THEOREMS = {"4.6": (Theorem46, "vanilla"), "5.2": (Theorem52, "retrieval"), "5.6": (Theorem56, "vanilla")}
PROBLEMS = {
    "index": lambda size, **hard: Index(max_size=size, num_words=9, query_form="full", **hard),
    "associative_recall": lambda size, **hard: AssociativeRecall(
        num_keys=max(2, size // 2), num_values=9, query_form="full", **hard
    ),
    "ngram_retrieval": lambda size: NGramRetrieval(max_size=size, num_words=40, query_form="full"),
    "counting": lambda size, **hard: Counting(max_size=size, num_words=6, query_form="full", **hard),
}
BOTH = pytest.mark.parametrize("theorem", THEOREMS)


def answers(model, task, prompts):
    """What the model answers to prompts of ids."""
    asked = begin([[prompt] for prompt in prompts], task, RegularExpressionRetriever(timeout=5.0), 40)
    return [reply.answers for reply in generate(model, asked)]


def assert_right(theorem, problem, task, size, count, batch, precision="float64"):
    written, regime = THEOREMS[theorem]
    model = written(problem, precision=precision).write(task.vocabulary)
    for start in range(0, count, batch):
        indices = np.arange(start, min(start + batch, count))
        transcripts = task.sample(1, indices, np.full(len(indices), size), regime)
        prompts = [row[:length] for row, length in zip(transcripts.tokens, transcripts.prompt_length, strict=True)]
        assert answers(model, task, prompts) == transcripts.answers.tolist()


SIZES = [
    pytest.param(16, 1000, 250),
    pytest.param(64, 300, 100),
    pytest.param(64, 1000, 100, marks=pytest.mark.slow),
    pytest.param(256, 1000, 50, marks=pytest.mark.slow),
    pytest.param(1024, 1000, 10, marks=pytest.mark.slow),
]


@BOTH
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize(("size", "count", "batch"), SIZES)
def test_random_instances_are_answered_right(theorem, problem, size, count, batch):
    assert_right(theorem, problem, PROBLEMS[problem](size), size, count, batch)


@BOTH
@pytest.mark.parametrize("problem", ["index", "associative_recall", "counting"])
@pytest.mark.parametrize(("size", "count", "batch"), SIZES)
def test_hard_instances_are_answered_right(theorem, problem, size, count, batch):
    assert_right(theorem, problem, PROBLEMS[problem](size, distribution=CODE), size, count, batch)


@BOTH
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize(("size", "batch"), [(64, 100), pytest.param(1024, 10, marks=pytest.mark.slow)])
def test_float32_is_as_right(theorem, problem, size, batch):
    assert_right(theorem, problem, PROBLEMS[problem](size), size, 100, batch, "float32")


def near_misses(rng, size):
    """A list of `size` words full of 2-grams that differ from the query in one place, and once the query itself.

    Returns:
        The prompt and the answer, in words.
    """
    while True:
        query = rng.integers(40, size=2)
        words = np.tile(query, size // 2)
        words[np.arange(0, size, 2) + rng.integers(2, size=size // 2)] += rng.integers(1, 40, size // 2)
        start = rng.integers(size - 2)
        words[start : start + 3] = *query, rng.integers(40)
        listed, asked = ([f"w{1 + word % 40}" for word in row] for row in (words, query))
        if [listed[at : at + 2] for at in range(size - 1)].count(asked) == 1:
            return ["<s>", *listed, "?", *asked], listed[start + 2]


@BOTH
@pytest.mark.parametrize(("size", "count", "batch"), SIZES)
def test_lists_of_near_misses_are_answered_right(theorem, size, count, batch):
    task, rng = PROBLEMS["ngram_retrieval"](size), np.random.default_rng(1)
    model = THEOREMS[theorem][0]("ngram_retrieval").write(task.vocabulary)
    for _ in range(count // batch):
        prompts, right = zip(*[near_misses(rng, size) for _ in range(batch)], strict=True)
        given = answers(model, task, [task.vocabulary.encode(prompt) for prompt in prompts])
        assert [task.vocabulary.decode(answer) for answer in given] == [[word] for word in right]


def every_index():
    task = PROBLEMS["index"](5)
    for size in range(1, 6):
        for listed in product(["w1", "w2", "w3"], repeat=size):
            for place in range(1, size + 1):
                yield task, ["<s>", *listed, "?", str(place)], listed[place - 1]


def every_associative_recall():
    task = AssociativeRecall(num_keys=4, num_values=2, query_form="full")
    for size in range(1, 5):
        for keys, values in product(permutations(["k1", "k2", "k3", "k4"], size), product(["v1", "v2"], repeat=size)):
            pairs = [word for pair in zip(keys, values, strict=True) for word in pair]
            for key, value in zip(keys, values, strict=True):
                yield task, ["<s>", *pairs, "?", key], value


def every_ngram_retrieval(ngram_size):
    task = NGramRetrieval(max_size=5, num_words=3, ngram_size=ngram_size, query_form="full")
    for size in range(ngram_size, 6):
        for listed in product(["w1", "w2", "w3"], repeat=size):
            phrases = [listed[at : at + ngram_size - 1] for at in range(size - ngram_size + 2)]
            for start, query in enumerate(phrases[:-1]):
                if phrases.count(query) == 1:
                    yield task, ["<s>", *listed, "?", *query], listed[start + ngram_size - 1]


def every_counting():
    """Thresholds up to the length of the list; for theorem 5.2, which says t + 1, one more numeral than that."""
    task = Counting(max_size=5, num_words=3, query_form="full")
    for size in range(1, 5):
        for listed in product("123", repeat=size):
            for word, threshold in product("123", range(size + 1)):
                verdict = "YES" if listed.count(word) > threshold else "NO"
                yield task, ["<s>", *listed, "?", word, str(threshold)], verdict


@BOTH
@pytest.mark.parametrize(
    ("every", "options"),
    [
        (every_index, {}),
        (every_associative_recall, {}),
        (every_ngram_retrieval, {"ngram_size": 2}),
        (every_ngram_retrieval, {"ngram_size": 3}),
        (every_ngram_retrieval, {"ngram_size": 4}),
        (every_counting, {}),
    ],
)
def test_every_small_instance_is_answered_right(theorem, every, options):
    tasks, prompts, right = zip(*every(**options), strict=True)
    task = tasks[0]
    model = THEOREMS[theorem][0](every.__name__.removeprefix("every_"), **options).write(task.vocabulary)
    given = answers(model, task, [task.vocabulary.encode(prompt) for prompt in prompts])
    assert [task.vocabulary.decode(answer) for answer in given] == [[word] for word in right] and len(right) > 100


@BOTH
@pytest.mark.parametrize("ngram_size", [2, 4])
def test_ngrams_of_other_sizes(theorem, ngram_size):
    task = NGramRetrieval(max_size=30, num_words=40, ngram_size=ngram_size, query_form="full")
    written, regime = THEOREMS[theorem]
    model = written("ngram_retrieval", ngram_size).write(task.vocabulary)
    transcripts = task.sample(0, np.arange(200), np.full(200, 30), regime)
    prompts = [task.vocabulary.encode(prompt) for prompt, _ in read_all(transcripts, task)]
    assert answers(model, task, prompts) == transcripts.answers.tolist()


@BOTH
@pytest.mark.parametrize("problem", PROBLEMS)
def test_neither_layers_nor_width_nor_parameters_depend_on_the_length(theorem, problem):
    models = [THEOREMS[theorem][0](problem).write(PROBLEMS[problem](size).vocabulary) for size in (16, 1024)]
    described = [(len(model.mixers), model.registers.width, model.num_parameters) for model in models]
    assert described[0] == described[1]
    if theorem == "5.2":
        assert models[0].state_size(16) == models[1].state_size(1024)


@pytest.mark.parametrize("problem", ["index", "associative_recall", "counting"])
def test_a_model_without_a_search_has_more_bits_of_memory_than_the_code(problem):
    """The lower bound of Theorem 4.6: who is always right remembers at least n bits, and here they do."""
    for size in (16, 256):
        task = PROBLEMS[problem](size, distribution=CODE)
        longest = int(task.sample(0, np.arange(20), np.full(20, size), "vanilla").length.max())
        for theorem in ("4.6", "5.6"):
            model = THEOREMS[theorem][0](problem).write(task.vocabulary)
            assert model.state_bits(longest) >= task.random_bits(size)


def test_a_model_for_other_words_is_refused():
    with pytest.raises(
        UserError, match=r"theorem 5\.2 for index writes words that must be .*; set data\.task to the task"
    ):
        Theorem52("index").write(Index().vocabulary)
    with pytest.raises(UserError, match="such as 'v'"):
        Theorem46("associative_recall").write(Index().vocabulary)
    with pytest.raises(UserError, match=r"problem of theorem 5\.6 must be .*, got 'is_tree'"):
        Theorem56("is_tree")
