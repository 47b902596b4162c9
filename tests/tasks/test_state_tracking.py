"""Words of groups and automata against permutations that are applied one after the other."""

from functools import cache
from itertools import pairwise, permutations

import numpy as np
import pytest
from jsonargparse import ArgumentParser
from reading import check_bounds, check_docstring, read

from lit_retrieval.automata import make_automaton
from lit_retrieval.data import TranscriptData
from lit_retrieval.errors import UserError
from lit_retrieval.tasks import Author, StateTracking

LAMP = {
    "off": {"press": "on", "wait": "off"},
    "on": {"press": "off", "wait": "on"},
    "broken": {"press": "broken", "wait": "off"},
}
SIZES = {"parity": (2, 2), "z5": (5, 5), "s3": (6, 6), "s5": (120, 120), "a5": (60, 60)}


@cache
def elements_of(group):
    """Its permutations; the even ones have the determinant 1."""
    count = int(group[1])
    every = list(permutations(range(count)))
    return [one for one in every if group[0] == "s" or round(np.linalg.det(np.eye(count)[list(one)])) == 1]


def states_of(automaton, symbols):
    """The states after each symbol, by arithmetic, by moving things, or by looking them up: no table of products."""
    state = 0
    if not isinstance(automaton, str):
        names, state = list(automaton), next(iter(automaton))
        for symbol in symbols:
            state = automaton[state][list(automaton["on"])[symbol]]
            yield names.index(state)
    elif automaton == "even_pairs":
        for last in symbols:
            yield 1 + 2 * symbols[0] + last
    elif automaton == "cycle5":
        for symbol in symbols:
            state = (state + (0, 1, -1)[symbol]) % 5
            yield state
    elif automaton in ("parity", "z5"):
        yield from np.cumsum(symbols) % (2 if automaton == "parity" else 5)
    else:
        elements, things = elements_of(automaton), np.arange(int(automaton[1]))
        for symbol in symbols:
            things = things[list(elements[symbol])]
            yield elements.index(tuple(things.tolist()))


def outputs_of(automaton, symbols):
    """What is asked for after each symbol: the number of unequal neighbors modulo 2, or the state."""
    if automaton == "even_pairs":
        return [sum(a != b for a, b in pairwise(symbols[: 1 + last])) % 2 for last in range(len(symbols))]
    return list(states_of(automaton, symbols))


@pytest.mark.parametrize("automaton", ["parity", "even_pairs", "cycle5", "z5", "s3", "a5", LAMP], ids=str)
@pytest.mark.parametrize(("regime", "supervision"), [("vanilla", "dense"), ("vanilla", "final"), ("cot", "dense")])
@pytest.mark.parametrize("count", [600, pytest.param(10_000, marks=pytest.mark.slow)])
def test_transcripts_follow_the_automaton(automaton, regime, supervision, count):
    task, sizes = StateTracking(automaton, supervision), np.resize([1, 2, 9], count)
    transcripts = task.sample(3, np.arange(count), sizes, regime)
    seen = set()
    for row, size in enumerate(sizes):
        words, authors = read(transcripts, task, row)
        symbols = [int(word[1:]) for word in words[1 : 1 + size]]
        states, asked = list(states_of(automaton, symbols)), outputs_of(automaton, symbols)
        assert words[: 2 + size] == ["<s>", *(f"x{symbol}" for symbol in symbols), "?"]
        if (regime, supervision) == ("vanilla", "dense"):
            assert authors == [Author.PROMPT] * 2 + [Author.ASKED] * size
            assert transcripts.prompt_length[row] == 2
        else:
            steps = [f"q{state}" for state in states] if regime == "cot" else []
            assert words[2 + size :] == [*steps, f"={asked[-1]}"]
            assert authors == [Author.PROMPT] * (2 + size) + [Author.MODEL] * (len(steps) + 1)
            assert transcripts.prompt_length[row] == 2 + size
            asked = asked[-1:]
        assert task.vocabulary.decode(transcripts.answers_of(row)) == [f"={one}" for one in asked]
        seen |= set(symbols)
    assert len(seen) == make_automaton(automaton).transitions.shape[1], "every symbol is drawn"


@pytest.mark.parametrize("name", SIZES)
def test_a_group_has_a_unit_inverses_and_no_order_of_brackets(name):
    table = make_automaton(name).transitions
    assert table.shape == SIZES[name]
    count = len(table)
    assert (table[0] == np.arange(count)).all() and (table[:, 0] == np.arange(count)).all()
    assert all(sorted(line) == list(range(count)) for line in (*table.tolist(), *table.T.tolist()))
    one, two, three = np.random.default_rng(0).integers(0, count, (3, 1000))
    assert (table[table[one, two], three] == table[one, table[two, three]]).all()


@pytest.mark.parametrize("regime", ["vanilla", "cot"])
@pytest.mark.parametrize("supervision", ["dense", "final"])
def test_replies_reach_their_bounds(regime, supervision):
    task = StateTracking("z5", supervision)
    assert set(check_bounds(task, 7, regime)) == {task.longest_reply(7, regime)}
    assert set(check_bounds(task, 1, regime)) == {task.shortest_reply(regime)}


def test_the_sample_in_the_docstring_is_well_formed():
    def expected(prompt, regime):
        states = list(states_of("parity", [int(word[1:]) for word in prompt[1:-1]]))
        yield from ((f"q{state}", Author.MODEL) for state in states if regime == "cot")
        yield f"={states[-1]}", Author.MODEL

    check_docstring(StateTracking, expected)


@pytest.mark.parametrize(
    "automaton", ["", "s", "s2", "s7", "z1", "z1001", "q8", "parity2", "z-3", "cycle1", "pairs", {}, {"a": {}},
                  {"a": {"0": "b"}}, {"a": {"0": "a"}, "b": {"1": "a"}}],
)  # fmt: skip
def test_other_automata_are_refused(automaton):
    with pytest.raises(UserError, match=r"set data\.task\.init_args\.automaton|complete data\.task"):
        StateTracking(automaton)


def test_a_table_may_ask_for_less_than_its_states():
    """A regular language: the words of LAMP after which nothing is broken."""
    task = StateTracking(LAMP, "final", {"broken": False, "off": "works", "on": "works"})
    assert task.chance == 1 / 2 and task.answer_words.size == 2
    transcripts = task.sample(0, np.arange(300), np.full(300, 4), "cot")
    for row in range(300):
        words, _ = read(transcripts, task, row)
        states = list(states_of(LAMP, [int(word[1:]) for word in words[1:5]]))
        assert words[6:] == [*(f"q{state}" for state in states), "=False" if states[-1] == 2 else "=works"]


@pytest.mark.parametrize(
    ("automaton", "outputs"), [("s3", {"a": "b"}), (LAMP, {}), (LAMP, {"off": "x"}), (LAMP, dict.fromkeys("ab", "x"))]
)
def test_outputs_that_are_not_those_of_a_table_are_refused(automaton, outputs):
    with pytest.raises(UserError, match=r"data\.task\.init_args\.outputs"):
        StateTracking(automaton, outputs=outputs)


def test_outputs_in_yaml_may_be_yes_and_no(tmp_path):
    file = tmp_path / "language.yaml"
    file.write_text(
        "task: {class_path: StateTracking, init_args: {automaton: {even: {0: even, 1: odd}, odd: {0: odd, 1: even}}, "
        "outputs: {even: yes, odd: no}}}\nregime: vanilla\nsizes: [4]\n"
    )
    parser = ArgumentParser()
    parser.add_class_arguments(TranscriptData, "data")
    task = parser.instantiate(parser.parse_args(["--data", str(file)])).data.task
    assert task.vocabulary.words[-2:] == ("=True", "=False") and task.chance == 1 / 2
