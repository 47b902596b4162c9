"""Each lemma of appendix C.2 against what it says, on rows of words that hypothesis draws."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_retrieval.constructions import attend
from lit_retrieval.constructions.registers import Registers

NAMES = ["a", "b", "square of a", "square of b", "position", "square of position", "is <s>", "never", "out", "other"]
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
    for name in ("a", "b", "position"):
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
