"""ReGLU layers with constructed weights (arXiv:2402.18510, appendix C.1).

Each function returns hidden units; `write_feed_forward` builds a layer of them. A layer adds to its target registers,
so these must be 0 before it.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch

from lit_retrieval.constructions.registers import Form, Registers
from lit_retrieval.mixers import ReGLU


class Unit(NamedTuple):
    """A hidden unit, which adds relu(gate) * up to registers.

    Args:
        gate, up: The forms that it reads.
        down: The registers that it adds to, each with a factor.
    """

    gate: Form
    up: Form
    down: Form


def multiply(left: str, right: Form, target: str) -> list[Unit]:
    """`left` times `right` (Lemma C.1; the printed version sums the two units, and gives |left| * right)."""
    return [Unit({left: 1.0}, right, {target: 1.0}), Unit({left: -1.0}, right, {target: -1.0})]


def square(source: Form, target: str) -> list[Unit]:
    """The square of a form that is at least 0 (Lemma C.1)."""
    return [Unit(source, source, {target: 1.0})]


def squares(*names: str) -> list[Unit]:
    """The squares of registers that are at least 0, each in `square of NAME`."""
    return [unit for name in names for unit in square({name: 1.0}, f"square of {name}")]


def add(source: Form, target: str) -> list[Unit]:
    """A linear form (Lemma C.2)."""
    return [Unit({"one": 1.0}, source, {target: 1.0})]


def indicate(source: Form, value: int, target: Form) -> list[Unit]:
    """1 where an integer is `value`, else 0 (Lemma C.3, with one unit fewer)."""
    steps = ((value - 1, 1.0), (value, -2.0), (value + 1, 1.0))
    return [_hinge(source, start, target, factor) for start, factor in steps]


def choose(tested: Form, value: int, source: Form, target: str) -> list[Unit]:
    """`source` where an integer is `value`, else 0: Lemma C.3, with Lemma C.1 in the same units."""
    return [unit._replace(up=source) for unit in indicate(tested, value, {target: 1.0})]


def exceed(source: Form, threshold: float, margin: float, target: str) -> list[Unit]:
    """1 from `threshold` on, 0 up to `threshold - margin` (Lemma C.5, with the sign in its last line corrected)."""
    return [
        _hinge(source, threshold - margin, {target: 1.0}, 1 / margin),
        _hinge(source, threshold, {target: 1.0}, -1 / margin),
    ]


def where(conditions: Iterable[str], source: Form, target: str) -> list[Unit]:
    """`source` where all conditions hold, else 0.

    A condition is the name of a register that is 0 or 1. It holds where the register is 1, or, with `not ` before the
    name, where it is 0.
    """
    gate: Form = {"one": 1.0}
    for condition in conditions:
        name = condition.removeprefix("not ")
        gate[name] = gate.get(name, 0.0) + (-1.0 if name != condition else 1.0)
        gate["one"] -= 0.0 if name != condition else 1.0
    return [Unit(gate, source, {target: 1.0})]


def say(conditions: Iterable[str], kind: str, number: Form | None = None) -> list[Unit]:
    """Writes a word of a kind, with its number if it has one, where all conditions of `where` hold."""
    conditions = list(conditions)
    units = where(conditions, {"one": 1.0}, f"say {kind}")
    return units if number is None else units + where(conditions, number, "say number")


def compare_share(share: str, longest: int) -> list[Unit]:
    """Writes whether m > t, from the share 1 / (m + 1) and t in `number`.

    (t + 2) / (m + 1) is at most 1 where m > t, and at least 1 + 1 / (t + 1) elsewhere. (The end of Theorem 4.6's proof
    compares t + 1 with m + 1, and so says YES at m = t.)

    Args:
        share: The register with 1 / (m + 1).
        longest: An upper bound on t.
    """
    between = 1.0 + 1.0 / (2 * longest + 2)
    return [*multiply(share, {"number": 1.0, "one": 2.0}, "say NO"), *add({"one": between}, "say YES")]


def write_feed_forward(registers: Registers, units: Sequence[Unit]) -> ReGLU:
    """The layer with these hidden units."""
    layer = ReGLU(registers.width, 0, len(units)).to(torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        for number, unit in enumerate(units):
            layer.gate_proj.weight[number] = registers.row(unit.gate)
            layer.up_proj.weight[number] = registers.row(unit.up)
            layer.down_proj.weight[:, number] = registers.row(unit.down)
    return layer


def _hinge(source: Form, start: float, target: Form, factor: float) -> Unit:
    """relu(source - start) times a factor."""
    gate = {**source, "one": source.get("one", 0.0) - start}
    return Unit(gate, {"one": 1.0}, {name: factor * weight for name, weight in target.items()})
