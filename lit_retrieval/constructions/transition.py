"""A Turing machine's table as hidden units (the lookup table of Lemma C.4)."""

from lit_retrieval.constructions.feed_forward import Unit, indicate, say, where
from lit_retrieval.constructions.registers import Form
from lit_retrieval.machines import VERDICTS, TuringMachine

REGISTERS = ["state", "symbol", "new symbol", "goes right", "new state", *(f"ends {verdict}" for verdict in VERDICTS)]
SAID = ["say t", "say L", "say R", "say q", *(f"say {verdict}" for verdict in VERDICTS), "say number"]


def look_up_action(machine: TuringMachine) -> list[Unit]:
    """The hidden units that look up the machine's action for `state` and `symbol`, for all entries of the table."""
    units = []
    for (state, symbol), action in machine.actions.items():
        target: Form = {"new symbol": float(action.symbol), "goes right": float(action.move > 0)}
        target |= {f"ends {action.verdict}": 1.0} if action.verdict else {"new state": float(action.state)}
        code = {"state": 1.0, "symbol": float(machine.num_states)}
        units += indicate(code, state + machine.num_states * symbol, target)
    return units


def say_symbol(now: list[str]) -> list[Unit]:
    """Write the word for the new symbol, where the conditions hold."""
    return say(now, "t", {"new symbol": 1.0})


def say_move(now: list[str]) -> list[Unit]:
    """Write the word for the direction, where the conditions hold."""
    return [*say([*now, "goes right"], "R"), *say([*now, "not goes right"], "L")]


def say_state(now: list[str]) -> list[Unit]:
    """Write the word for the next state or the verdict, where the conditions hold."""
    ends = [f"ends {verdict}" for verdict in VERDICTS]
    return [
        *say([*now, *(f"not {end}" for end in ends)], "q"),
        *where(now, {"new state": 1.0}, "say number"),
        *(unit for end in ends for unit in say([*now, end], end.removeprefix("ends "))),
    ]
