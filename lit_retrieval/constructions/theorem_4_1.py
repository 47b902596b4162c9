"""The positive half of Theorem 4.1: a linear RNN that runs a machine with little space, by a chain of thought.

In every step the model writes the whole tape again, with the state before the cell under the head, as in `t1 q0 t2 t1`.
A word of the tape depends on four neighbors in the previous tape, so the RNN remembers one tape of words. With a space
of m cells its state has O(m) elements, which is O(log n) if m is.
"""

from lit_retrieval.constructions import transition
from lit_retrieval.constructions.feed_forward import Unit, say, where, write_feed_forward
from lit_retrieval.constructions.linear_unit import ago, remember, remembered
from lit_retrieval.constructions.model import ConstructedModel
from lit_retrieval.constructions.registers import Registers
from lit_retrieval.machines import VERDICTS, TuringMachine
from lit_retrieval.vocabulary import Vocabulary

_KEPT = ["is q", "is t", "number"]


def turing_machine(vocabulary: Vocabulary, machine: TuringMachine, space: int) -> ConstructedModel:
    """The model of a machine on a tape of `space` cells."""
    registers = Registers(
        [*remembered(_KEPT, space + 1), *_KEPT, *transition.REGISTERS, "say t", "say q",
         *(f"say {verdict}" for verdict in VERDICTS), "say number"]
    )  # fmt: skip
    mixers = [
        remember(registers, _KEPT, space + 1),
        write_feed_forward(registers, _select(space)),
        write_feed_forward(registers, transition.look_up_action(machine)),
        write_feed_forward(registers, _rewrite(space)),
    ]
    return ConstructedModel(vocabulary, registers, mixers)


def _heads(space: int) -> dict[int, str]:
    """The registers of the head's position in the previous tape, by its offset from the next word.

    The word at an offset from the next one was written `space - offset` tokens ago.
    """
    return {offset: ago("is q", space - offset) for offset in (-1, 0, 1)}


def _select(space: int) -> list[Unit]:
    """Select the state and the symbol after it, if the head was at most one position away."""
    units = []
    for offset, head in _heads(space).items():
        units += where([head], {ago("number", space - offset): 1.0}, "state")
        units += where([head], {ago("number", space - offset - 1): 1.0}, "symbol")
    return units


def _rewrite(space: int) -> list[Unit]:
    """Write the next word: that of the previous tape, or the one that the step puts there.

    `q a` becomes `a' q'` if the head moves right, and `b q a` becomes `q' b a'` if it moves left.
    """
    behind, here, before = (_heads(space)[offset] for offset in (-1, 0, 1))
    old, left = ago("number", space), ago("number", space + 1)
    same_kind = [f"not {head}" for head in (behind, here, before)]
    return [
        *say(same_kind, "t", {old: 1.0}),
        *transition.say_symbol([here, "goes right"]),
        *say([here, "not goes right"], "t", {left: 1.0}),
        *transition.say_state([behind, "goes right"]),
        *transition.say_symbol([behind, "not goes right"]),
        *say([before, "goes right"], "t", {old: 1.0}),
        *transition.say_state([before, "not goes right"]),
    ]
