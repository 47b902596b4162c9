"""Theorem 5.8: any Turing machine as a linear RNN of constant size with one Transformer layer on top.

A step is `c r t D q` (`lit_retrieval.tasks.MachineRun`): the cell, the symbol last written into it (which attention
finds), the new symbol, the direction and the next state.
"""

from lit_retrieval.constructions import transition
from lit_retrieval.constructions.attend import all_but, match_closest, write_attention
from lit_retrieval.constructions.feed_forward import Unit, multiply, say, where, write_feed_forward
from lit_retrieval.constructions.linear_unit import ago, remember, remembered
from lit_retrieval.constructions.model import ConstructedModel
from lit_retrieval.constructions.registers import Registers
from lit_retrieval.machines import TuringMachine
from lit_retrieval.vocabulary import Vocabulary, read_word

_REACH = 4
_KEPT = ["is c", "is r", "is L", "is R", "number"]
_NOW = [f"is {kind}" for kind in ("t", "q", "?", "<s>")]
_LONGEST = 2**16  # words of a run, or 8 words per cell with as many cells as steps, if that is more


def turing_machine(vocabulary: Vocabulary, machine: TuringMachine) -> ConstructedModel:
    """The model of a machine, whose table is in one feed-forward layer of the RNN."""
    registers = Registers(
        [*remembered(_KEPT, _REACH), *_KEPT, *_NOW, "position", "cell", "is record", "square of cell",
         "square of number", "read", *transition.REGISTERS, *transition.SAID, "say c", "say r"]
    )  # fmt: skip
    longest = max(_LONGEST, 8 * max(read_word(word)[1] for word in vocabulary.words))
    mixers = [
        remember(registers, _KEPT, _REACH),
        write_feed_forward(registers, [*_select(), *_record()]),
        write_feed_forward(registers, [
            *transition.look_up_action(machine), *multiply("cell", {"cell": 1.0}, "square of cell"),
            *multiply("number", {"number": 1.0}, "square of number"),
        ]),
        write_attention(registers, [  # the symbol last written into this cell, or a blank, which is the number of `<s>`
            match_closest(["number"], ["cell"], [({"number": 1.0}, "read")], longest, all_but("is record"))
        ]),
        write_feed_forward(registers, [
            *say(["is c"], "r", {"read": 1.0}), *_go_on(), *transition.say_symbol(["is r"]),
            *transition.say_move(["is t"]), *transition.say_state(["is L"]), *transition.say_state(["is R"]),
        ]),
    ]  # fmt: skip
    return ConstructedModel(vocabulary, registers, mixers)


def _select() -> list[Unit]:
    """Select the state and the symbol that was read from the words since the last state, where they are needed."""
    units = []
    for conditions, lag in ((["is r"], 0), (["is t"], 1), (["is L"], 2), (["is R"], 2)):
        units += where(conditions, {ago("number", 2 + lag): 1.0}, "state")
        units += where(conditions, {ago("number", lag): 1.0}, "symbol")
    return units


def _record() -> list[Unit]:
    """Record the cell of a symbol: its name is directly before the symbol in the prompt, one word earlier in a step."""
    return [
        *where(["is t", ago("is c", 1)], {ago("number", 1): 1.0}, "cell"),
        *where(["is t", ago("is r", 1)], {ago("number", 2): 1.0}, "cell"),
        *where(["is t"], {"one": 1.0}, "is record"),
    ]


def _go_on() -> list[Unit]:
    """Write the name of the first cell, or of the next one, a neighbor of the last cell."""
    return [
        *say(["is ?"], "c"),
        *say(["is q"], "c", {ago("number", 4): 1.0, ago("is R", 1): 1.0, ago("is L", 1): -1.0}),
    ]
