"""Arithmetic as gates, against Python's: every word of four bits."""

import math

import pytest

from lit_retrieval.constructions.wiring import ONE, Number, Wiring, constant

WORDS = [f"x{number}" for number in range(16)]


def shifted(wiring, by):
    """The word's number plus a constant, which may be negative."""
    return wiring.add([wiring.number, constant(by)])


def low_bits(wiring):
    """The lower two bits of the number."""
    return Number(0, 3, wiring.number.bits[:2])


def curve(x):
    return math.floor(4 * math.tanh(x / 3) + 0.5)


CASES = {
    "add": (lambda w: w.add([shifted(w, 3), low_bits(w), constant(5)]), lambda x: x + 8 + x % 4),
    "scale": (lambda w: w.add([w.scale(shifted(w, 1), 11), w.scale(low_bits(w), 0)]), lambda x: 11 * x + 11),
    "negate": (lambda w: w.add([w.scale(shifted(w, -5), -3), constant(40)]), lambda x: 55 - 3 * x),
    "relu": (lambda w: w.relu(shifted(w, -6)), lambda x: max(0, x - 6)),
    "relu_of_less_than_0": (lambda w: w.add([w.relu(shifted(w, -16)), constant(1)]), lambda x: 1),
    "relu_of_more_than_0": (lambda w: w.relu(shifted(w, 2)), lambda x: x + 2),
    "at_least": (lambda w: Number(0, 1, (w.at_least(shifted(w, -3), 4),)), lambda x: x >= 7),
    "where": (
        lambda w: w.add([w.where(w.number.bits[0], shifted(w, -9)), constant(9)]),
        lambda x: x if x % 2 else 9,
    ),
    "where_of_positive": (lambda w: w.where(w.number.bits[1], shifted(w, 4)), lambda x: x + 4 if x & 2 else 0),
    "multiply": (
        lambda w: w.add([w.multiply(shifted(w, 2), shifted(w, -7)), constant(200)]),
        lambda x: (x + 2) * (x - 7) + 200,
    ),
    "multiply_by_itself": (lambda w: w.multiply(w.number, w.number), lambda x: x * x),
    "look_up": (lambda w: w.add([w.look_up(shifted(w, -8), curve), constant(4)]), lambda x: curve(x - 8) + 4),
    "halve": (lambda w: w.add([w.halve(shifted(w, -13), 2), constant(9)]), lambda x: (x - 13) // 4 + 9),
    "select": (
        lambda w: w.select([w.number.bits[3], w.xor(ONE, w.number.bits[3])], [11, 4]),
        lambda x: 11 if x >= 8 else 4,
    ),
    "within": (lambda w: w.within(w.scale(low_bits(w), 4), 0, 12), lambda x: 4 * (x % 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_gates_compute_as_python_does(name):
    wire, compute = CASES[name]
    wiring = Wiring(4)
    number = wire(wiring)
    wiring.say("say number", number)
    circuit = wiring.circuit(WORDS, [], [])
    for x, word in enumerate(WORDS):
        values = circuit.step(word, [])
        assert number.low <= compute(x) <= number.high
        assert sum(values[output.gate] << output.bit for output in circuit.outputs) == compute(x)


@pytest.mark.parametrize(("low", "high", "by"), [(0, 31, 5), (-9, 20, -5), (-16, 15, -16)])
def test_a_number_is_remembered_and_is_0_at_first(low, high, by):
    wiring = Wiring(4)
    before = wiring.remember(low, high)
    wiring.renew(before, wiring.within(shifted(wiring, by), low, high))
    wiring.say("say number", wiring.add([before, constant(-low)]))
    circuit, values, remembered = wiring.circuit(WORDS, [], []), [], 0
    for x in (3, 15, 0, 7):
        values = circuit.step(f"x{x}", values)
        told = sum(values[output.gate] << output.bit for output in circuit.outputs)
        assert told == remembered - low
        remembered = x + by


def test_equal_gates_are_built_once_and_those_that_nothing_needs_are_left_out():
    wiring = Wiring(4)
    numbers = [wiring.multiply(wiring.number, wiring.number) for _ in range(2)]
    wiring.multiply(shifted(wiring, 1), wiring.number)
    one = Wiring(4)
    one.say("say number", one.multiply(one.number, one.number))
    wiring.say("say number", numbers[1])
    assert numbers[0] == numbers[1]
    assert len(wiring.circuit(WORDS, [], []).gates) == len(one.circuit(WORDS, [], []).gates)
