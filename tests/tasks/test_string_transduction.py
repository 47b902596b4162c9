"""Functions of strings against a solver that reads the words alone."""

import inspect
from typing import get_args

import numpy as np
import pytest
from reading import check_bounds, check_docstring, read_all

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import REGIMES, Author, StringTransduction
from lit_retrieval.tasks.automata.string_transduction import Function

FUNCTIONS = get_args(Function)
SAMPLES = pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])


def output_of(function, string):
    """The words of the output, each with its positions in the prompt, counted from 1."""
    placed = list(enumerate(string, start=1))
    if function == "stack_manipulation":
        stack = []
        for place, word in placed:
            if word == "pop":
                stack = stack[:-1]
            else:
                stack.append((word.removeprefix("+"), [place]))
        return [*stack[::-1], (".", [])]
    if function == "binary_addition":
        plus = string.index("+")
        numbers = [placed[:plus], placed[plus + 1 :]]
        total = sum(int("".join(word[1] for _, word in bits[::-1]), 2) for bits in numbers)
        places = [[bits[at][0] for bits in numbers if at < len(bits)] for at in range(len(string))]
        return [*((f"x{bit}", places[at]) for at, bit in enumerate(f"{total:b}"[::-1])), (".", [])]
    if function == "missing_duplicate":
        half, missing = len(string) // 2, string.index("_")
        placed = [placed[missing - half]]
    elif function == "bucket_sort":
        placed.sort(key=lambda one: one[1])
    else:
        placed = {"reverse": placed[::-1], "duplicate": 2 * placed, "odds_first": placed[::2] + placed[1::2]}[function]
    return [(word, [place]) for place, word in placed]


def expected_reply(prompt, regime, function="reverse", form="short"):
    string = prompt[1:-1]
    for word, places in output_of(function, string):
        for place in places:
            if regime == "cot":
                yield str(place), Author.MODEL
            if regime == "retrieval":
                query = ["@", str(place)] if form == "short" else [r"^(?:\S+\s+){", str(place), r"}(\S+)"]
                yield from ((piece, Author.MODEL) for piece in ["<StartSearch>", *query, "<EndSearch>"])
                yield string[place - 1], Author.RETRIEVER
        yield word, Author.MODEL


def make(function, max_size=15, form="short"):
    return StringTransduction(function, max_size, 2 if function == "binary_addition" else 3, form)


@SAMPLES
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("regime", "form"), [*((regime, "short") for regime in REGIMES), ("retrieval", "full")])
def test_transcripts_write_the_function(function, regime, form, count):
    task = make(function, form=form)
    sizes = np.resize([3, 7, 15] if function == "binary_addition" else [1, 2, 7, 15], count)
    transcripts = task.sample(2, np.arange(count), sizes, regime)
    for row, (prompt, reply) in enumerate(read_all(transcripts, task)):
        string = prompt[1:-1]
        assert prompt[0] == "<s>" and prompt[-1] == "?"
        assert len(string) == sizes[row] * (2 if function == "missing_duplicate" else 1)
        assert reply == list(expected_reply(prompt, regime, function, form))
        output = output_of(function, string)
        assert task.vocabulary.decode(transcripts.answers_of(row)) == [word for word, _ in output]
        is_copied = function != "binary_addition"
        distances = [len(prompt) - 1 - places[0] if places and is_copied else 0 for _, places in output]
        assert transcripts.distances[row].tolist() == distances + [0] * (transcripts.answers.shape[1] - len(output))


def strings(function, size, count=20_000):
    task = make(function, size)
    transcripts = task.sample(0, np.arange(count), np.full(count, size), "vanilla")
    return np.array(task.vocabulary.words)[transcripts.tokens[:, 1 : transcripts.prompt_length[0] - 1]]


def assert_alike(drawn, values):
    shares = [(drawn == value).mean() for value in values]
    assert abs(np.array(shares) - 1 / len(values)).max() < 0.02


def test_words_places_actions_and_numbers_are_drawn_alike():
    assert_alike(strings("reverse", 4), ["x0", "x1", "x2"])
    assert_alike((strings("missing_duplicate", 4) == "_").argmax(1), range(8))
    stacks = strings("stack_manipulation", 6)
    heights = np.char.isalnum(stacks) & (stacks != "pop")
    assert_alike(heights.sum(1), range(1, 6))
    assert_alike(stacks[:, 5], ["pop", "+x0", "+x1", "+x2"])
    sums = strings("binary_addition", 7)
    pluses = (sums == "+").argmax(1)
    assert_alike(pluses, range(1, 6))
    assert_alike(np.char.add(sums[pluses == 2, 0], sums[pluses == 2, 1]), ["x0x1", "x1x0", "x1x1"])


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_replies_reach_their_bounds(function, regime):
    task = make(function)
    for size in (3, 7):
        assert check_bounds(task, size, regime, 5000).max() == task.longest_reply(size, regime)
    assert check_bounds(task, 3 if "+" in task.vocabulary else 1, regime).max() >= task.shortest_reply(regime)
    smallest = 2 if function == "stack_manipulation" else 3 if function == "binary_addition" else 1
    assert check_bounds(task, smallest, regime).min() == task.shortest_reply(regime)


def test_the_samples_in_the_docstring_are_right():
    check_docstring(StringTransduction, expected_reply)
    lines = inspect.getdoc(StringTransduction).splitlines()  # without the indentation, as Python 3.13 keeps it
    rows = [line.split("`") for line in lines if line.startswith("| `")]
    assert [row[1] for row in rows] == list(FUNCTIONS)
    for row in rows:
        string, output = (part.split() for part in row[3].split(" ? "))
        assert [word for word, _ in output_of(row[1], string)] == output


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match=r"function must be reverse or .*, got 'sort'"):
        StringTransduction("sort")
    with pytest.raises(UserError, match="binary_addition needs the words x0 and x1 alone, got vocab_size=3; set"):
        StringTransduction("binary_addition", vocab_size=3)
    with pytest.raises(UserError, match="max_size must be 3 or more, got 2; set data"):
        StringTransduction("binary_addition", max_size=2)
    with pytest.raises(UserError, match="size must be 3 to 8, got 2"):
        StringTransduction("binary_addition", max_size=8).check_size(2)
