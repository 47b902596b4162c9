r"""Theorem 5.4: any Turing machine as a linear RNN of constant size that reads its tape by searching its own trace.

A step is `c <StartSearch> .*(?<!\S) c \s+...(t\S+) <EndSearch> [t] t' D q'` (`lit_retrieval.tasks.MachineRun`): the
cell, a search for the symbol last written into it, the new symbol, the direction and the next state. The last ten words
determine the next word.
"""

from lit_retrieval.constructions import transition
from lit_retrieval.constructions.feed_forward import Unit, say, where, write_feed_forward
from lit_retrieval.constructions.linear_unit import ago, remember, remembered
from lit_retrieval.constructions.model import ConstructedModel
from lit_retrieval.constructions.registers import Registers
from lit_retrieval.machines import SEARCH, TuringMachine
from lit_retrieval.vocabulary import Vocabulary

_REACH = 9
_BEFORE, _AFTER = SEARCH
_KEPT = ["is <StartSearch>", "is <EndSearch>", "is L", "is R", f"is {_BEFORE}", "number"]
_NOW = [f"is {kind}" for kind in ("c", "q", "?", _AFTER)]


def turing_machine(vocabulary: Vocabulary, machine: TuringMachine) -> ConstructedModel:
    """The model of a machine, whose table is in one feed-forward layer."""
    registers = Registers(
        [*remembered(_KEPT, _REACH), *_KEPT, *_NOW, *transition.REGISTERS, *transition.SAID, "say c",
         "say <StartSearch>", "say <EndSearch>", f"say {_BEFORE}", f"say {_AFTER}"]
    )  # fmt: skip
    found, written = [ago("is <EndSearch>", 1)], [ago("is <EndSearch>", 2)]
    select = []
    for conditions, lag in ((found, 0), (written, 1), (["is L"], 2), (["is R"], 2)):
        select += where(conditions, {ago("number", 7 + lag): 1.0}, "state")
        select += where(conditions, {ago("number", lag): 1.0}, "symbol")
    mixers = [
        remember(registers, _KEPT, _REACH),
        write_feed_forward(registers, select),
        write_feed_forward(registers, transition.look_up_action(machine)),
        write_feed_forward(registers, [
            *_search(), *_go_on(), *transition.say_symbol(found), *transition.say_move(written),
            *transition.say_state(["is L"]), *transition.say_state(["is R"]),
        ]),
    ]  # fmt: skip
    return ConstructedModel(vocabulary, registers, mixers)


def _search() -> list[Unit]:
    """Write the words of the search after a cell's name."""
    begun = ago(f"is {_BEFORE}", 1)
    return [
        *say(["is c", f"not {begun}"], "<StartSearch>"),
        *say(["is <StartSearch>"], _BEFORE),
        *say([f"is {_BEFORE}"], "c", {ago("number", 2): 1.0}),
        *say(["is c", begun], _AFTER),
        *say([f"is {_AFTER}"], "<EndSearch>"),
    ]


def _go_on() -> list[Unit]:
    """Write the name of the first cell, or of the next one, a neighbor of the last cell named."""
    return [
        *say(["is ?"], "c"),
        *say(["is q"], "c", {ago("number", 6): 1.0, ago("is R", 1): 1.0, ago("is L", 1): -1.0}),
    ]
