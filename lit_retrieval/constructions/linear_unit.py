"""Linear recurrences with constructed weights, which remember earlier tokens (arXiv:2402.18510, appendix C.3)."""

from collections.abc import Sequence

import torch

from lit_retrieval.constructions.registers import Registers
from lit_retrieval.mixers import LinearRNN


def ago(source: str, lag: int) -> str:
    """The name of the register with the value of `source` `lag` tokens ago; `source` itself for 0."""
    return f"{source} {lag} ago" if lag else source


def remembered(sources: Sequence[str], lags: int) -> list[str]:
    """The names of the registers that `remember` needs."""
    return [f"{source} {lag} ago" for source in sources for lag in range(lags + 1)]


def remember(registers: Registers, sources: Sequence[str], lags: int, sums: Sequence[str] = ()) -> LinearRNN:
    """A linear unit that keeps registers `sources` of the last `lags` tokens, and `sums` of others over all tokens.

    Lemma C.20: each kept value moves to the next channel at every token, h_t[j] = h_{t-1}[j - 1]. Lemma C.21: a sum
    adds its register, h_t = h_{t-1} + x_t. The kept values appear in `ago(source, 1)` to `ago(source, lags)`, a sum in
    `sum of SOURCE`; the registers must have these names and those of `remembered`.
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


def turn(source: str, place: int) -> str:
    """The name of the register that sums `source` of `place`, `place + period`, `place + 2 period`, ... tokens ago."""
    return f"turn {place} of {source}"


def take_turns(registers: Registers, sources: Sequence[str], period: int) -> LinearRNN:
    """A cyclic linear unit that stores how many tokens ago a source was 1, modulo `period`.

    Lemma C.20 with the last channel connected to the first: h_t[0] = h_{t-1}[period - 1] + x_t, and h_t[j] =
    h_{t-1}[j - 1]. The registers must have `turn(source, 0)` to `turn(source, period - 1)` for each source.
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
