"""Each lemma of appendix C.2 against what it says, on rows of words that hypothesis draws."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lemmas import match_nearest, match_next

from lit_retrieval.constructions import attend
from lit_retrieval.constructions.registers import Registers

NAMES = ["a", "b", "square of a", "square of b", "position", "square of position", "is <s>", "never", "out", "other",
         "index", "square of index"]  # fmt: skip
REGISTERS = Registers(NAMES, multiple=4)
rows = st.lists(st.integers(1, 9), min_size=1, max_size=30)


def run(heads, a, b=None, **given_values):
    """The registers behind a layer, `(time,)` each, where `a` and `b` have these values; `<s>` stands before them."""
    time = len(a) + 1
    x = torch.zeros(1, time, REGISTERS.width, dtype=torch.float64)
    values = {
        "one": [1] * time,
        "a": [0, *a],
        "b": [0, *(b or a)],
        "position": range(time),
        "is <s>": [1] + [0] * len(a),
    }
    for name, value in {**values, **{name: [0, *row] for name, row in given_values.items()}}.items():
        x[0, :, REGISTERS[name]] = torch.tensor(list(value), dtype=torch.float64)
    for name in ("a", "b", "position", "index"):
        x[0, :, REGISTERS[f"square of {name}"]] = x[0, :, REGISTERS[name]] ** 2
    y, _ = attend.write_attention(REGISTERS, heads)(x)
    return y[0, 1:, REGISTERS["out"]].tolist(), y[0, 1:, REGISTERS["other"]].tolist()


@settings(deadline=None)
@given(a=rows, lag=st.integers(1, 4))
def test_copying_from_so_many_tokens_before(a, lag):
    out, _ = run([attend.look_back(lag, [({"a": 1.0}, "out")])], a)
    whole = [0, *a]
    assert out == pytest.approx([whole[max(place - lag, 0)] for place in range(1, len(whole))])


@settings(deadline=None)
@given(a=rows)
def test_the_mean(a):
    out, _ = run([attend.average([({"a": 1.0}, "out")])], a)
    assert out == pytest.approx([sum(a[: place + 1]) / (place + 2) for place in range(len(a))])


@settings(deadline=None)
@given(a=rows, b=rows)
def test_counting(a, b):
    b = (b * 30)[: len(a)]
    head = attend.count("b", "square of b", "a", "out", {"never": 1.0})
    out, _ = run([head], a, b)
    assert out == pytest.approx([1 / (a[: place + 1].count(b[place]) + 1) for place in range(len(a))])


@settings(deadline=None)
@given(a=rows, b=rows, spoilt=st.sets(st.integers(0, 29)))
def test_tokens_that_are_never_to_fit_are_not_counted(a, b, spoilt):
    b = (b * 30)[: len(a)]
    never = [int(place in spoilt) for place in range(len(a))]
    out, _ = run([attend.count("b", "square of b", "a", "out", {"never": 1.0})], a, b, never=never)
    fitting = [[a[at] for at in range(place + 1) if not never[at]].count(b[place]) for place in range(len(a))]
    assert out == pytest.approx([1 / (count + 1) for count in fitting])


@settings(deadline=None)
@given(a=st.permutations(range(1, 15)), asked=st.integers(1, 14))
def test_matching(a, asked):
    """Every word stands once, and the last token asks for one of them."""
    wanted = [0] * (len(a) - 1) + [asked]
    out, other = run([attend.match(["b"], ["a"], [({"position": 1.0}, "out"), ({"a": 1.0}, "other")])], a, wanted)
    assert out[-1] == pytest.approx(a.index(asked) + 1) and other[-1] == pytest.approx(asked)


@settings(deadline=None)
@given(a=rows)
def test_two_heads_do_not_disturb_each_other(a):
    heads = [attend.look_back(1, [({"a": 1.0}, "out")]), attend.average([({"a": 1.0}, "other")])]
    out, other = run(heads, a)
    assert out == pytest.approx(run(heads[:1], a)[0])
    assert other == pytest.approx([sum(a[: place + 1]) / (place + 2) for place in range(len(a))])


def fitting(a, b, spoilt):
    """The positions of the tokens before the last, itself included, that have as `a` the last one's `b`; `<s>` is 0."""
    return [place for place, value in enumerate(a, start=1) if value == b and place - 1 not in spoilt]


sets = st.sets(st.integers(0, 29))
few = st.lists(st.integers(1, 4), min_size=1, max_size=30)
POSITION = [({"position": 1.0}, "out"), ({"a": 1.0}, "other")]


def last(head, a, b, spoilt=(), **given_values):
    """The position that the head finds from the last token, which wants `b`."""
    never = [int(place in spoilt) for place in range(len(a))]
    return run([head], a, [0] * (len(a) - 1) + [b], never=never, **given_values)[0][-1]


@settings(deadline=None)
@given(a=few, b=st.integers(1, 5), spoilt=sets)
def test_the_first_and_the_latest_that_match(a, b, spoilt):
    places = fitting(a, b, spoilt)
    for match, expected in ((attend.match_first, min), (attend.match_closest, max)):
        head = match(["b"], ["a"], POSITION, 32, {"never": 1.0})
        assert last(head, a, b, spoilt) == pytest.approx(expected(places, default=0))


@settings(deadline=None)
@given(a=few, b=st.integers(1, 5), place=st.integers(0, 31), spoilt=sets)
def test_the_nearest_to_a_place_that_matches(a, b, place, spoilt):
    head = match_nearest(["b"], ["a"], {"one": float(place)}, POSITION, 32, {"never": 1.0})
    nearest = min(fitting(a, b, spoilt), key=lambda at: (abs(at - place), -at), default=0)
    assert last(head, a, b, spoilt) == pytest.approx(nearest)


@settings(deadline=None)
@given(a=few, b=st.integers(1, 5), m=st.integers(0, 31), skipped=st.integers(0, 5))
def test_the_next_that_matches(a, b, m, skipped):
    """The index of a token is 1 / m where it is the m-th of its kind, of which some have gone before."""
    index = [1 / (skipped + a[: place + 1].count(value)) for place, value in enumerate(a)]
    wanted, places = 1 / m if m else 0.0, fitting(a[:-1], b, ())
    head = match_next(["b"], ["a"], "index", POSITION, 37, {"never": 1.0})
    following = wanted / (1 + wanted)
    nearest = min(places, key=lambda at: abs(index[at - 1] - following), default=0)
    assert last(head, a, b, [len(a) - 1], index=[*index[:-1], wanted]) == pytest.approx(nearest)


def test_all_but_a_register_spares_the_start():
    form = attend.all_but("a")
    assert [form["one"] + form[name] for name in ("a", "is <s>")] == [0, 0]


def test_a_head_with_more_scores_than_it_has_room_for_is_refused():
    head = attend.Head([({"one": 1.0}, {"a": 1.0})] * 9, [])
    with pytest.raises(AssertionError, match="no more room"):
        attend.write_attention(REGISTERS, [head, head])
