"""Builds a circuit for arithmetic with integers.

Constants are folded, equal gates are built once, and unused gates are left out of the circuit.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from lit_retrieval.circuits import Circuit, Gate, Output

ZERO, ONE = -1, -2  # constant wires; all others are indices of gates


class Number(NamedTuple):
    """An integer from `low` to `high`: `low` plus the sum of 2^i times wire i of `bits`."""

    low: int
    high: int
    bits: tuple[int, ...]


def constant(value: int) -> Number:
    """A fixed number."""
    return Number(value, value, ())


class Wiring:
    """The gates of a circuit while it is built.

    Args:
        num_bits: Number of bits of the number in a word.
    """

    def __init__(self, num_bits: int) -> None:
        self._gates: list[Gate] = []
        self._known: dict[Gate, int] = {}
        self._states: dict[int, int] = {}  # the wires whose values state gates remember
        self._outputs: list[Output] = []
        bits = [self._gate(Gate("input", bit, 0, "number")) for bit in reversed(range(num_bits))]
        self.number = Number(0, 2**num_bits - 1, tuple(reversed(bits)))

    def ask(self, coordinate: str) -> Number:
        """An input wire: a coordinate of the word that is 0 or 1, such as `is x`."""
        return Number(0, 1, (self._gate(Gate("input", 0, 0, coordinate)),))

    def remember(self, low: int, high: int) -> Number:
        """A number of the previous step, initially 0, defined with `renew`; 0 must be within its bounds."""
        gates = []
        for _ in range((high - low).bit_length()):
            self._gates.append(Gate("state", len(self._gates)))
            gates.append(len(self._gates) - 1)
        # The remembered bits are all 0 for the number 0.
        return Number(low, high, tuple(self._flip(gates, -low)))

    def renew(self, before: Number, after: Number) -> None:
        """Define the next value of a number from `remember`; `after` must be within the same bounds."""
        bits = self._flip(self.rebase(after, before.low, len(before.bits)), -before.low)
        for wire, bit in zip(before.bits, bits, strict=True):
            self._states[self._state_of(wire)] = bit

    def say(self, coordinate: str, value: Number) -> None:
        """Output a number of the step; it must not be negative where it is used."""
        for bit, wire in enumerate(self.rebase(value, 0, max(value.high, 1).bit_length())):
            if wire != ZERO:
                self._outputs.append(Output(coordinate, bit, wire))

    def xor(self, left: int, right: int) -> int:
        """A wire that is left != right."""
        left, right = sorted((left, right))
        if left == right:
            return ZERO
        if ZERO in (left, right):
            return right if left == ZERO else left
        if left == ONE and self._gates[right].kind == "xor" and self._gates[right].left == ONE:
            return self._gates[right].right
        return self._gate(Gate("xor", left, right))

    def both(self, left: int, right: int) -> int:
        """A wire that is left and right."""
        left, right = sorted((left, right))
        if ZERO in (left, right):
            return ZERO
        return right if left in (ONE, right) else self._gate(Gate("and", left, right))

    def add(self, numbers: Iterable[Number]) -> Number:
        """The sum of two numbers."""
        total = constant(0)
        for one in numbers:
            low, high = total.low + one.low, total.high + one.high
            bits, _ = self._ripple(total.bits, one.bits, (high - low).bit_length())
            total = Number(low, high, bits)
        return total

    def scale(self, number: Number, factor: int) -> Number:
        """A number times a fixed integer."""
        if factor < 0:
            most = 2 ** len(number.bits) - 1
            flipped = Number(-number.low - most, -number.low, tuple(self.xor(ONE, bit) for bit in number.bits))
            return self.within(self.scale(flipped, -factor), number.high * factor, number.low * factor)
        places = [place for place in range(factor.bit_length()) if factor >> place & 1]
        return self.add(
            Number(number.low << place, number.high << place, (*[ZERO] * place, *number.bits)) for place in places
        )

    def at_least(self, number: Number, bound: int) -> int:
        """A wire that is number >= bound."""
        if bound <= number.low:
            return ONE
        if bound > number.high:
            return ZERO
        width = len(number.bits)
        return self._ripple(number.bits, _bits_of(2**width - (bound - number.low), width + 1), width)[1]

    def relu(self, number: Number) -> Number:
        """max(number, 0)."""
        if number.low >= 0 or number.high <= 0:
            return number if number.low >= 0 else constant(0)
        bits = self.rebase(number, 0, number.high.bit_length())
        return Number(0, number.high, tuple(self.both(self.at_least(number, 1), bit) for bit in bits))

    def where(self, wire: int, number: Number) -> Number:
        """The number where the wire is 1, else 0."""
        low, high = min(0, number.low), max(0, number.high)
        bits = tuple(self.both(wire, bit) for bit in self.rebase(number, low, (high - low).bit_length()))
        if number.low >= 0:
            return Number(low, high, bits)
        # the number 0 is -low above low
        otherwise = [self.both(self.xor(ONE, wire), bit) for bit in _bits_of(-low, len(bits))]
        return Number(low, high, tuple(self.xor(*pair) for pair in zip(bits, otherwise, strict=True)))

    def multiply(self, left: Number, right: Number) -> Number:
        """The product of two numbers, of which the left one is not negative."""
        bits = self.rebase(left, 0, left.high.bit_length())
        total = self.add(self.scale(self.where(bit, right), 2**place) for place, bit in enumerate(bits))
        bounds = [one * other for one in (0, left.high) for other in (right.low, right.high)]
        return self.within(total, min(bounds), max(bounds))

    def look_up(self, number: Number, function: Callable[[int], int]) -> Number:
        """A function of a number; the function must never decrease."""
        low, high = function(number.low), function(number.high)
        arguments = range(number.low, number.high)
        starts = [number.low + bisect_left(arguments, value, key=function) for value in range(low + 1, high + 1)]
        reached = [self.at_least(number, start) for start in starts]
        bits = []
        for place in range((high - low).bit_length()):  # the bit changes at each multiple of 2^place
            bit = ZERO
            for wire in reached[2**place - 1 :: 2**place]:
                bit = self.xor(bit, wire)
            bits.append(bit)
        return Number(low, high, tuple(bits))

    def select(self, flags: Sequence[int], values: Sequence[int]) -> Number:
        """The value whose flag is 1; exactly one flag is 1."""
        low, high, bits = min(values), max(values), []
        for place in range((high - low).bit_length()):
            bit = ZERO
            for flag, value in zip(flags, values, strict=True):
                bit = self.xor(bit, flag) if (value - low) >> place & 1 else bit
            bits.append(bit)
        return Number(low, high, tuple(bits))

    def halve(self, number: Number, places: int) -> Number:
        """The number divided by 2^places, rounded down."""
        low, high = number.low >> places, number.high >> places
        bits = self.rebase(number, low << places, (high - low).bit_length() + places)
        return Number(low, high, tuple(bits[places:]))

    def within(self, number: Number, low: int, high: int) -> Number:
        """The same number, known to be within these bounds."""
        return Number(low, high, self.rebase(number, low, (high - low).bit_length()))

    def rebase(self, number: Number, low: int, width: int) -> tuple[int, ...]:
        """The `width` bits of number - low, modulo 2^width."""
        return self._ripple(number.bits, _bits_of(number.low - low, width), width)[0]

    def circuit(self, reads: Sequence[str], writes: Sequence[str], answers: Sequence[str]) -> Circuit:
        """The finished circuit, without unused gates."""
        gates = [Gate("one"), Gate("xor", 0, 0)]  # constants
        needed, places = self._needed(), {ONE: 0, ZERO: 1}
        for wire in sorted(needed):
            places[wire] = len(places)
        for wire in sorted(needed):
            gate = self._gates[wire]
            if gate.kind == "state":
                gate = Gate("state", places[self._states[wire]])
            elif gate.kind in ("and", "xor"):
                gate = Gate(gate.kind, places[gate.left], places[gate.right])
            gates.append(gate)
        outputs = [output._replace(gate=places[output.gate]) for output in self._outputs]
        return Circuit(reads, writes, answers, gates, outputs)

    def _needed(self) -> set[int]:
        """The gates that affect the output in any step; of the bits of the word's number, all or none."""
        pending, needed = [output.gate for output in self._outputs], set[int]()
        while pending:
            wire = pending.pop()
            if wire < 0 or wire in needed:
                continue
            needed.add(wire)
            gate = self._gates[wire]
            pending += [self._states[wire]] if gate.kind == "state" else []
            pending += [gate.left, gate.right] if gate.kind in ("and", "xor") else []
            pending += self.number.bits if gate.coordinate == "number" else []
        return needed

    def _gate(self, gate: Gate) -> int:
        if gate not in self._known:
            self._known[gate] = len(self._gates)
            self._gates.append(gate)
        return self._known[gate]

    def _state_of(self, wire: int) -> int:
        gate = self._gates[wire]
        return wire if gate.kind == "state" else gate.right

    def _flip(self, bits: Sequence[int], pattern: int) -> list[int]:
        return [self.xor(ONE, bit) if pattern >> place & 1 else bit for place, bit in enumerate(bits)]

    def _ripple(self, left: Sequence[int], right: Sequence[int], width: int) -> tuple[tuple[int, ...], int]:
        """The sum of two binary numbers modulo 2^width, and the carry out of it."""
        bits, carry = [], ZERO
        for place in range(width):
            one, other = (bits[place] if place < len(bits) else ZERO for bits in (left, right))
            half = self.xor(one, other)
            bits.append(self.xor(half, carry))
            carry = self.xor(self.both(one, other), self.both(carry, half))
        return tuple(bits), carry


def _bits_of(value: int, width: int) -> list[int]:
    return [ONE if value >> place & 1 else ZERO for place in range(width)]
