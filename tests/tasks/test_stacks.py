"""Stacks against lists that are pushed to and popped from."""

from collections import defaultdict

import numpy as np
import pytest
from reading import check_bounds, check_docstring, read

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import Author, Stacks


def reply_to(operations, regime):
    """What the model writes at the last operation, a pop of the first: (kind, stack, word), word None for a pop."""
    stack = operations[-1][1]
    mine = [(kind, word) for kind, name, word in operations if name == stack]
    held = []
    for kind, word in mine[:-1]:
        if kind == "push":
            held.append(word)
        else:
            held.pop()
    steps, missing = [], 1
    for kind, _ in mine[-2::-1]:
        missing += {"pop": 1, "push": -1}[kind]
        steps.append(str(missing))
        if missing == 0:
            break
    return [*(steps if regime == "cot" else []), held[-1]]


def solve(words, regime):
    """The transcript of the user's operations, word by word with its author, and the answers' places of pushes."""
    operations, written, at = [], [("<s>", Author.PROMPT)], 1
    while at < len(words):
        kind, stack = words[at : at + 2]
        written += [(kind, Author.PROMPT), (stack, Author.PROMPT)]
        operations.append((kind, stack, words[at + 2] if kind == "push" else None))
        if kind == "push":
            written.append((words[at + 2], Author.PROMPT))
        else:
            written += [(word, Author.MODEL) for word in reply_to(operations, regime)]
        at = len(written)
    return written


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("num_stacks", [1, 3, 64])
@pytest.mark.parametrize("regime", Stacks.regimes)
def test_transcripts_say_what_is_popped(regime, num_stacks, count):
    task, sizes = Stacks(24, num_stacks, 5), np.resize([2, 3, 7, 24], count)
    transcripts = task.sample(6, np.arange(count), sizes, regime)
    for row, size in enumerate(sizes):
        words, authors = read(transcripts, task, row)
        assert list(zip(words, authors, strict=True)) == solve(words, regime)
        assert words.count("push") + words.count("pop") == size and authors[-1] == Author.MODEL
        held, answers, distances = defaultdict(list), [], []
        for at, word in enumerate(words):
            if word == "push":
                held[words[at + 1]].append(at + 2)
            elif word == "pop":
                place = held[words[at + 1]].pop()
                answers.append(words[place])
                distances.append(at + 1 - place)
        assert task.vocabulary.decode(transcripts.answers_of(row)) == answers
        assert transcripts.distances[row, : len(answers)].tolist() == distances
        assert transcripts.prompt_length[row] == words.index("pop") + 2


def test_stacks_and_words_are_uniform_and_half_of_what_can_be_popped_is():
    task = Stacks(max_size=60, num_stacks=4, vocab_size=5)
    pushed, named, popped = [], [], []
    for row in range(1000):
        words = task.vocabulary.decode(task.sample(0, np.array([row]), np.array([60]), "vanilla").tokens[0])
        filled = defaultdict(int)
        for kind, stack, word in zip(words[1:-3:3], words[2:-3:3], words[3:-3:3], strict=True):
            named.append(stack)
            popped += [kind == "pop"] if filled[stack] else []
            pushed += [word] if kind == "push" else []
            filled[stack] += 1 if kind == "push" else -1
    for drawn, count in ((named, 4), (pushed, 5)):
        shares = np.unique(drawn, return_counts=True)[1] / len(drawn)
        assert len(shares) == count and abs(shares - 1 / count).max() < 0.01
    assert abs(np.mean(popped) - 1 / 2) < 0.01 and task.chance == 1 / 5


@pytest.mark.parametrize("regime", Stacks.regimes)
def test_replies_reach_their_bounds(regime):
    task = Stacks(num_stacks=1)
    replies = check_bounds(task, 4, regime)
    assert (replies.min(), replies.max()) == ((1, 7) if regime == "vanilla" else (2, 9))
    assert task.longest_reply(4, regime) == (7 if regime == "vanilla" else 11)
    assert set(check_bounds(task, 2, regime)) == {task.shortest_reply(regime)} == {task.longest_reply(2, regime)}


def test_the_sample_in_the_docstring_is_well_formed():
    def expected(prompt, regime):
        later = ["push", "s2", "w2", "pop", "s1"]
        operations = [("push", "s1", "w4"), ("push", "s1", "w2"), ("pop", "s1", None)]
        assert prompt == ["<s>", "push", "s1", "w4", "push", "s1", "w2", "pop", "s1"]
        words = [*reply_to(operations, regime), *later]
        words += reply_to([*operations, ("push", "s2", "w2"), ("pop", "s1", None)], regime)
        return [(word, Author.MODEL) for word in words]

    check_docstring(Stacks, expected)


@pytest.mark.parametrize("size", [1, 129])
def test_sizes_that_cannot_be_are_refused(size):
    with pytest.raises(UserError, match=f"size must be 2 to 128, got {size}"):
        Stacks().sample(0, np.arange(1), np.full(1, size), "cot")


@pytest.mark.parametrize("arguments", [{"max_size": 1}, {"num_stacks": 0}, {"vocab_size": 1}])
def test_nothing_to_pop_is_refused(arguments):
    with pytest.raises(UserError, match=r"must be .*, got .*; set data.task.init_args"):
        Stacks(**arguments)
