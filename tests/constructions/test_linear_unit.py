"""The lemmas of appendix C.3 against what they say."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lemmas import at_place, held, hold, recite

from lit_retrieval.constructions.feed_forward import write_feed_forward
from lit_retrieval.constructions.linear_unit import ago, remember, remembered, take_turns, turn
from lit_retrieval.constructions.registers import Registers

rows = st.lists(st.integers(-9, 9), min_size=1, max_size=30)


@settings(deadline=None)
@given(a=rows, lags=st.integers(1, 5))
def test_recent_inputs_and_sums(a, lags):
    registers = Registers(["a", "sum of a", *remembered(["a"], lags)])
    x = torch.zeros(1, len(a), registers.width, dtype=torch.float64)
    x[0, :, registers["a"]] = torch.tensor(a, dtype=torch.float64)
    h, state = remember(registers, ["a"], lags, sums=["a"])(x)
    for lag in range(1, lags + 1):
        expected = ([0] * lag + a)[: len(a)]
        assert h[0, :, registers[ago("a", lag)]].tolist() == expected
    assert h[0, :, registers["sum of a"]].tolist() == [sum(a[: place + 1]) for place in range(len(a))]
    assert state.shape == (1, registers.width), "the same for any length"


@settings(deadline=None)
@given(a=rows, period=st.integers(2, 5))
def test_turns(a, period):
    registers = Registers(["a", *(turn("a", place) for place in range(period))])
    x = torch.zeros(1, len(a), registers.width, dtype=torch.float64)
    x[0, :, registers["a"]] = torch.tensor(a, dtype=torch.float64)
    h, _ = take_turns(registers, ["a"], period)(x)
    for place in range(period):
        expected = [sum(a[now - place :: -period]) if now >= place else 0 for now in range(len(a))]
        assert h[0, :, registers[turn("a", place)]].tolist() == expected


@settings(deadline=None)
@given(a=rows, places=st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True))
def test_special_positions(a, places):
    registers = Registers(["position", "a", *held(["a"], places)])
    x = torch.zeros(1, len(a), registers.width, dtype=torch.float64)
    x[0, :, registers["one"]] = 1
    x[0, :, registers["position"]] = torch.arange(len(a), dtype=torch.float64)
    x[0, :, registers["a"]] = torch.tensor(a, dtype=torch.float64)
    x = x + write_feed_forward(registers, hold(["a"], places))(x)[0]
    h, _ = remember(registers, [], 0, sums=[at_place("a", place) for place in places])(x)
    for place in places:
        expected = [a[place] if now >= place else 0 for now in range(len(a))]
        assert h[0, :, registers[f"sum of {at_place('a', place)}"]].tolist() == expected


@given(sequence=st.dictionaries(st.integers(0, 29), st.integers(-9, 9), min_size=1))
def test_recitation(sequence):
    registers = Registers(["position", "out"])
    x = torch.zeros(1, 30, registers.width, dtype=torch.float64)
    x[0, :, registers["one"]] = 1
    x[0, :, registers["position"]] = torch.arange(30, dtype=torch.float64)
    out = write_feed_forward(registers, recite(sequence, "out"))(x)[0][0, :, registers["out"]]
    assert out.tolist() == [sequence.get(place, 0) for place in range(30)]


def test_nothing_ago_is_the_register_itself():
    assert ago("a", 0) == "a" and ago("a", 2) == "a 2 ago"
    with pytest.raises(KeyError, match="a 0 ago"):
        remember(Registers(["a"]), ["a"], 1)
