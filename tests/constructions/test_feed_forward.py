"""Each lemma of appendix C.1 against what it says, on numbers that hypothesis draws."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lemmas import lie_between, look_up

from lit_retrieval.constructions import feed_forward
from lit_retrieval.constructions.registers import Registers

REGISTERS = Registers(["a", "b", "c", "out"])
integers = st.integers(-1000, 1000)
reals = st.floats(-1000, 1000)
bits = st.integers(0, 1)
KEYS = st.tuples(*[st.integers(0, 2)] * 3)
ENTRIES = st.dictionaries(KEYS, st.integers(1, 1000), min_size=1)


def run(units, **values):
    """The register `out` behind a layer, where the others have these values."""
    x = torch.zeros(1, 1, REGISTERS.width, dtype=torch.float64)
    for name, value in {"one": 1.0, **values}.items():
        x[..., REGISTERS[name]] = value
    layer = feed_forward.write_feed_forward(REGISTERS, units)
    return layer(x)[0][0, 0, REGISTERS["out"]].item()


@given(a=reals, b=reals)
def test_multiplication(a, b):
    assert run(feed_forward.multiply("a", {"b": 1.0}, "out"), a=a, b=b) == pytest.approx(a * b)


@given(a=st.floats(0, 1000))
def test_square(a):
    assert run(feed_forward.square({"a": 1.0}, "out"), a=a) == pytest.approx(a * a)


@given(a=reals, b=reals)
def test_linear_form(a, b):
    assert run(feed_forward.add({"a": 2.0, "b": -3.0, "one": 1.0}, "out"), a=a, b=b) == pytest.approx(2 * a - 3 * b + 1)


@given(a=integers, b=integers, value=st.integers(-3, 3))
def test_indicator(a, b, value):
    units = feed_forward.indicate({"a": 1.0, "b": -1.0}, value, {"out": 5.0})
    assert run(units, a=a, b=b) == 5.0 * (a - b == value)


@given(a=integers, b=st.integers(-3, 3), value=st.integers(-3, 3))
def test_choice(a, b, value):
    units = feed_forward.choose({"b": 1.0}, value, {"a": 2.0, "one": 1.0}, "out")
    assert run(units, a=a, b=b) == (2 * a + 1) * (b == value)


@given(keys=KEYS, entries=ENTRIES)
def test_lookup_table(keys, entries):
    table = {key: float(entry) for key, entry in entries.items()}
    units = look_up(["a", "b", "c"], 3, table, "out")
    assert run(units, a=keys[0], b=keys[1], c=keys[2]) == table.get(keys, 0.0)


@given(a=reals)
def test_threshold(a):
    found = run(feed_forward.exceed({"a": 1.0}, 3.0, 0.5, "out"), a=a)
    assert 0 <= found <= 1
    if not 2.5 < a < 3.0:
        assert found == pytest.approx(float(a >= 3.0), abs=1e-9)


@given(a=reals)
def test_interval(a):
    found = run(lie_between({"a": 1.0}, -2.0, 3.0, 0.5, "out"), a=a)
    if not (-2.5 < a < -2.0 or 3.0 < a < 3.5):
        assert found == pytest.approx(float(-2.0 <= a <= 3.0), abs=1e-9)


@given(a=bits, b=bits, c=bits, negated=st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_conditions(a, b, c, negated):
    names = [f"not {name}" if turned else name for name, turned in zip("abc", negated, strict=True)]
    holds = all(bool(bit) != turned for bit, turned in zip((a, b, c), negated, strict=True))
    assert run(feed_forward.where(names, {"one": 7.0}, "out"), a=a, b=b, c=c) == 7.0 * holds


def test_the_papers_multiplication_gives_the_absolute_value_of_one_factor():
    first, second = feed_forward.multiply("a", {"b": 1.0}, "out")
    printed = [first, second._replace(down={"out": 1.0})]
    assert run(printed, a=-2, b=3) == 6
