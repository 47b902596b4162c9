"""Words of groups and automata against permutations that are applied one after the other."""

from itertools import permutations

import numpy as np
import pytest
from reading import check_bounds, check_docstring, read

from lit_retrieval.automata import transitions
from lit_retrieval.errors import UserError
from lit_retrieval.tasks import Author, StateTracking

LAMP = {
    "off": {"press": "on", "wait": "off"},
    "on": {"press": "off", "wait": "on"},
    "broken": {"press": "broken", "wait": "off"},
}
SIZES = {"parity": (2, 2), "z5": (5, 5), "s3": (6, 6), "s5": (120, 120), "a5": (60, 60)}


def states_of(automaton, symbols):
    """The states after each symbol, by arithmetic, by moving things, or by looking them up: no table of products."""
    if not isinstance(automaton, str):
        names, state = list(automaton), next(iter(automaton))
        for symbol in symbols:
            state = automaton[state][list(automaton["on"])[symbol]]
            yield names.index(state)
    elif automaton in ("parity", "z5"):
        yield from np.cumsum(symbols) % (2 if automaton == "parity" else 5)
    else:
        count = int(automaton[1])
        every = list(permutations(range(count)))
        even = [one for one in every if round(np.linalg.det(np.eye(count)[list(one)])) == 1]
        elements = even if automaton[0] == "a" else every
        things = np.arange(count)
        for symbol in symbols:
            things = things[list(elements[symbol])]
            yield elements.index(tuple(things.tolist()))


@pytest.mark.parametrize("automaton", ["parity", "z5", "s3", "a5", LAMP], ids=str)
@pytest.mark.parametrize(("regime", "supervision"), [("vanilla", "dense"), ("vanilla", "final"), ("cot", "dense")])
def test_thousands_of_transcripts_follow_the_automaton(automaton, regime, supervision):
    task, sizes = StateTracking(automaton, supervision), np.resize([1, 2, 9], 2000)
    transcripts = task.sample(3, np.arange(2000), sizes, regime)
    seen = set()
    for row, size in enumerate(sizes):
        words, authors = read(transcripts, task, row)
        symbols = [int(word[1:]) for word in words[1 : 1 + size]]
        states = list(states_of(automaton, symbols))
        assert words[: 2 + size] == ["<s>", *(f"x{symbol}" for symbol in symbols), "?"]
        if (regime, supervision) == ("vanilla", "dense"):
            assert authors == [Author.PROMPT] * 2 + [Author.ASKED] * size
            assert transcripts.prompt_length[row] == 2
        else:
            steps = [f"q{state}" for state in states] if regime == "cot" else []
            assert words[2 + size :] == [*steps, f"={states[-1]}"]
            assert authors == [Author.PROMPT] * (2 + size) + [Author.MODEL] * (len(steps) + 1)
            assert transcripts.prompt_length[row] == 2 + size
            states = states[-1:]
        assert task.vocabulary.decode(transcripts.answers_of(row)) == [f"={state}" for state in states]
        seen |= set(symbols)
    assert len(seen) == transitions(automaton).shape[1], "every symbol is drawn"


@pytest.mark.parametrize("name", SIZES)
def test_a_group_has_a_unit_inverses_and_no_order_of_brackets(name):
    table = transitions(name)
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
    "automaton", ["", "s", "s2", "s7", "z1", "z1001", "q8", "parity2", "z-3", {}, {"a": {}}, {"a": {"0": "b"}},
                  {"a": {"0": "a"}, "b": {"1": "a"}}],
)  # fmt: skip
def test_other_automata_are_refused(automaton):
    with pytest.raises(UserError, match=r"set data\.task\.init_args\.automaton|complete data\.task"):
        StateTracking(automaton)
