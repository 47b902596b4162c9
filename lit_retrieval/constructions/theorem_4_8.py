"""Theorem 4.8: a Transformer of constant size that runs the circuit of any RNN, gate by gate.

The chain of thought has C + 1 tokens for each step of the RNN: its C gates, as g0 or g1, and the next word of the RNN's
text, which is copied from the prompt while the RNN still reads it. A block is a word and the gates of the step after
it. The words of the prompt come before the first block, whose word is `<s>`. All gates are in one feed-forward layer,
with O(1) units each; the other layers, and the width, do not depend on the circuit.
"""

from lit_retrieval.circuits import Circuit
from lit_retrieval.constructions.attend import all_but, match, match_closest, match_first, write_attention
from lit_retrieval.constructions.feed_forward import (
    Unit,
    add,
    choose,
    exceed,
    indicate,
    multiply,
    say,
    square,
    where,
    write_feed_forward,
)
from lit_retrieval.constructions.model import ConstructedModel
from lit_retrieval.constructions.registers import Form, Registers
from lit_retrieval.vocabulary import Vocabulary, read_word

_LONGEST = 2**20  # tokens of a run
_BEGUN: Form = {"position": 1.0, "last word": -1.0}  # number of gates in the block so far: the index of the next gate
_PLACES = ("position", "square of position", "last word", "square of last word", "first gate", "left place",
           "right place", "echo place")  # fmt: skip
_GATES = ("gate", "is xor", "is and", "is state", "is one", "is bit", "is over", "power", "left", "right", "left over")


def recurrent_circuit(vocabulary: Vocabulary, circuit: Circuit) -> ConstructedModel:
    """The model of an RNN whose step is a circuit."""
    kinds = list(dict.fromkeys(["?", *(read_word(word)[0] for word in circuit.words)]))
    read = list(dict.fromkeys(gate.coordinate for gate in circuit.gates if gate.coordinate not in ("", "number")))
    sums = list(dict.fromkeys(["number", *(output.coordinate for output in circuit.outputs)]))
    registers = Registers(
        [*_PLACES, "is g", "is <s>", *(f"is {kind}" for kind in kinds), "later", "reading", *_GATES,
         *(f"asks {name}" for name in read), *(f"word {name}" for name in ("number", *read)),
         *(f"echo {name}" for name in ("number", *(f"is {kind}" for kind in kinds))),
         *(f"{what} of {name}" for what in ("part", "mean") for name in sums), *read,
         "say g", *(f"say {kind}" for kind in kinds), "say number"], 4
    )  # fmt: skip
    mixers = [
        write_feed_forward(registers, [
            *square({"position": 1.0}, "square of position"), *where(["is g"], {"number": 1.0}, "gate"),
        ]),
        write_attention(registers, [
            match_closest([], [], [({"position": 1.0}, "last word"), *(({name: 1.0}, f"word {name}")
                                   for name in ("number", *read))], _LONGEST, {"is g": 1.0}),
            match_first([], [], [({"position": 1.0, "is <s>": float(_LONGEST)}, "first gate")], _LONGEST,
                        all_but("is g")),
        ]),
        write_feed_forward(registers, [*_find_places(circuit), *_look_up_gates(circuit), *_part(circuit)]),
        write_attention(registers, [
            match(["left place"], ["position"], [({"gate": 1.0}, "left")]),
            match(["right place"], ["position"], [({"gate": 1.0}, "right")]),
            match(["echo place"], ["position"], [({name: 1.0}, f"echo {name}")
                                                 for name in ("number", *(f"is {kind}" for kind in kinds))]),
            match(["last word"], ["last word"], [({f"part of {name}": 1.0}, f"mean of {name}") for name in sums]),
        ]),
        write_feed_forward(registers, _subtract_bits()),
        write_feed_forward(registers, [*_compute(circuit, read), *_write_word(circuit, kinds, sums)]),
    ]  # fmt: skip
    return ConstructedModel(vocabulary, registers, mixers)


def _find_places(circuit: Circuit) -> list[Unit]:
    """Find the positions of a block's word and of the prompt's next word, and whether the block is not the first.

    The word after the block a is a + 1 words after `<s>`, and a (C + 1) + C - 1 tokens after the first gate is the last
    one before it.
    """
    block = len(circuit.gates) + 1.0
    place: Form = {"position": 1 / block, "first gate": -1 / block, "one": 2 / block}
    return [
        *square({"last word": 1.0}, "square of last word"),
        *exceed({"last word": 1.0, "first gate": -1.0}, 1, 1, "later"),
        *add(place, "echo place"),
        *exceed({"first gate": 1.0 + 1 / block, "position": -1 / block, "one": -2 / block}, 0.75, 0.5, "reading"),
        *add({"position": 1.0, "one": 1.0}, "left place"),
        *add({"position": 1.0, "one": 1.0}, "right place"),
    ]


def _look_up_gates(circuit: Circuit) -> list[Unit]:
    """Look up the next gate, and the distances back to its operands."""
    block, units = len(circuit.gates) + 1, []
    for place, gate in enumerate(circuit.gates):
        target: Form = {f"is {gate.kind}": 1.0}
        if gate.kind in ("and", "xor"):
            target |= {"left place": float(gate.left - place), "right place": float(gate.right - place)}
        elif gate.kind == "state":
            target |= {"left place": float(gate.left - place - block)}
        elif gate.kind == "input":
            number = {"is bit": 1.0, "power": 2.0**gate.left}
            target = number if gate.coordinate == "number" else {f"asks {gate.coordinate}": 1.0}
        units += indicate(_BEGUN, place, target)
    return [*units, *indicate(_BEGUN, len(circuit.gates), {"is over": 1.0})]


def _part(circuit: Circuit) -> list[Unit]:
    """Add this gate's value to the number's bits written so far, and to the output of the step."""
    parts = [(place, gate.left, "number") for place, gate in enumerate(circuit.gates) if gate.coordinate == "number"]
    parts += [(output.gate, output.bit, output.coordinate) for output in circuit.outputs]
    return [
        unit for place, bit, name in parts for unit in choose(_BEGUN, place + 1, {"gate": 2.0**bit}, f"part of {name}")
    ]


def _subtract_bits() -> list[Unit]:
    """The number of the block's word minus the bits written so far; 0 in the first block."""
    return [
        *where(["later"], {"word number": 1.0}, "left over"),
        *multiply("mean of number", {"position": -1.0, "last word": 1.0, "one": -1.0}, "left over"),
    ]


def _compute(circuit: Circuit, read: list[str]) -> list[Unit]:
    """Compute the next gate."""
    most = 2.0 ** (circuit.num_bits + 1)
    bit: Form = {"left over": 1.0, "power": -1.0, "is bit": most, "one": -most}
    return [
        *say(["not is over"], "g"),
        *where(["is one"], {"one": 1.0}, "say number"),
        *where(["is xor", "left", "not right"], {"one": 1.0}, "say number"),
        *where(["is xor", "not left", "right"], {"one": 1.0}, "say number"),
        *where(["is and", "left", "right"], {"one": 1.0}, "say number"),
        *where(["is state", "later", "left"], {"one": 1.0}, "say number"),
        *exceed(bit, -0.25, 0.5, "say number"),
        *(
            unit
            for name in read
            for unit in where(
                [f"asks {name}", *(["not later"] if name == "is <s>" else ["later", f"word {name}"])],
                {"one": 1.0}, "say number",
            )
        ),
    ]  # fmt: skip


def _write_word(circuit: Circuit, kinds: list[str], sums: list[str]) -> list[Unit]:
    """Write the word after the gates: the prompt's next word, or the output of the step."""
    block = len(circuit.gates) + 1.0
    return [
        *(unit for kind in kinds for unit in say(["is over", "reading", f"echo is {kind}"], kind)),
        *where(["is over", "reading"], {"echo number": 1.0}, "say number"),
        *(
            unit
            for name in sums
            if name != "number"
            for unit in where(["is over", "not reading"], {f"mean of {name}": block}, name)
        ),
    ]
