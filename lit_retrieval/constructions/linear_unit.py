"""What one linear recurrence remembers with weights that are written down (arXiv:2402.18510, appendix C.3)."""

from collections.abc import Sequence

import torch

from lit_retrieval.constructions.feed_forward import Unit, choose
from lit_retrieval.constructions.registers import Registers
from lit_retrieval.mixers import LinearRNN


def ago(source: str, lag: int) -> str:
    """The register with what `source` was `lag` tokens ago; `source` itself for 0."""
    return f"{source} {lag} ago" if lag else source


def remembered(sources: Sequence[str], lags: int) -> list[str]:
    """The registers that `remember` needs."""
    return [f"{source} {lag} ago" for source in sources for lag in range(lags + 1)]


def remember(registers: Registers, sources: Sequence[str], lags: int, sums: Sequence[str] = ()) -> LinearRNN:
    """A linear unit that keeps registers of the last tokens, and sums of others over all tokens.

    Lemma C.20: each register moves on by one place at every token, h_t[j] = h_{t-1}[j - 1]. Lemma C.21: a sum adds its
    register to itself, h_t = h_{t-1} + x_t. What it keeps appears in `ago(source, 1)` to `ago(source, lags)`, a sum in
    `sum of SOURCE`.

    Args:
        registers: Names of the channels, those of `remembered` and the sums among them.
        sources: What is kept.
        lags: For how many tokens.
        sums: What is added up.
    """
    unit = LinearRNN(registers.width, 0).to(torch.float64)
    with torch.no_grad():
        unit.A.zero_()
        unit.B.weight.zero_()
        for source in sources:
            unit.B.weight[registers[f"{source} 0 ago"], registers[source]] = 1
            for lag in range(1, lags + 1):
                unit.A[registers[f"{source} {lag} ago"], registers[f"{source} {lag - 1} ago"]] = 1
        for source in sums:
            total = registers[f"sum of {source}"]
            unit.A[total, total] = unit.B.weight[total, registers[source]] = 1
    return unit


def at_place(source: str, place: int) -> str:
    """The register with what `source` was at a place, while it passes; `sum of` it is what is held."""
    return f"{source} at {place}"


def held(sources: Sequence[str], places: Sequence[int]) -> list[str]:
    """The registers that `hold` and the linear unit behind it need, besides `position`."""
    names = [at_place(source, place) for source in sources for place in places]
    return names + [f"sum of {name}" for name in names]


def hold(sources: Sequence[str], places: Sequence[int]) -> list[Unit]:
    """The hidden units that let registers pass at some places alone (Lemma C.22).

    A linear unit behind them that sums the registers of `at_place` holds what stood at each place ever after:
    `remember(registers, [], 0, sums=[at_place(source, place), ...])`.

    Args:
        sources: What is held.
        places: From where; 0 is `<s>`.
    """
    return [
        unit
        for source in sources
        for place in places
        for unit in choose({"position": 1.0}, place, {source: 1.0}, at_place(source, place))
    ]


def turn(source: str, place: int) -> str:
    """The register with the sum of what `source` was `place`, `place + period`, `place + 2 period`, ... tokens ago."""
    return f"turn {place} of {source}"


def take_turns(registers: Registers, sources: Sequence[str], period: int) -> LinearRNN:
    """A linear unit that goes round: where `source` is 1 at one token, it says how long ago that was, modulo `period`.

    Lemma C.20 with the end of the row tied to its beginning: h_t[0] = h_{t-1}[period - 1] + x_t, and h_t[j] =
    h_{t-1}[j - 1].

    Args:
        registers: Names of the channels, `turn(source, 0)` to `turn(source, period - 1)` among them.
        sources: From when it counts.
        period: In tokens.
    """
    unit = LinearRNN(registers.width, 0).to(torch.float64)
    with torch.no_grad():
        unit.A.zero_()
        unit.B.weight.zero_()
        for source in sources:
            unit.B.weight[registers[turn(source, 0)], registers[source]] = 1
            for place in range(period):
                unit.A[registers[turn(source, place)], registers[turn(source, (place - 1) % period)]] = 1
    return unit
