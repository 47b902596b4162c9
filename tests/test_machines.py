import pytest

from lit_retrieval.errors import UserError
from lit_retrieval.machines import TuringMachine

TWO = {"A": {0: "1RB", 1: "1LB"}, "B": {0: "1LA", 1: "1RHALT"}}


def test_the_busy_beaver_with_two_states_writes_four_ones_in_six_steps():
    steps = list(TuringMachine(TWO).run([]))
    assert len(steps) == 6 and steps[-1].action.verdict == "HALT"
    assert {step.cell for step in steps} == {-2, -1, 0, 1}


def test_a_run_without_end_is_cut():
    machine = TuringMachine({"A": {0: "0RA"}})
    assert [step.cell for step in machine.run([], max_steps=5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"A": {0: "1XB"}}, "state A on 0 does '1XB'; write the symbol, L or R, and a state"),
        ({"A": {0: "0RC"}}, "does '0RC'"),
        ({"A": {0: "1RA"}}, "no action for a symbol that it writes"),
        ({"A": {0: "0RA", 1: "0RB"}, "B": {0: "0RA"}}, r"no action for \('B', 1\)"),
        ({}, "has no states"),
    ],
)
def test_a_table_with_a_hole_is_refused(table, said):
    with pytest.raises(UserError, match=said):
        TuringMachine(table)
