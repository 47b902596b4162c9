"""The lemmas of appendix C.3 against what they say."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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


def test_nothing_ago_is_the_register_itself():
    assert ago("a", 0) == "a" and ago("a", 2) == "a 2 ago"
    with pytest.raises(KeyError):
        remember(Registers(["a"]), ["a"], 1)
