import json

import pytest
from jsonargparse import ArgumentParser

from lit_retrieval.errors import UserError
from lit_retrieval.machines import Table, TuringMachine

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
        ({"A": {0: "1XB"}}, "the action of state A on 0 must be a symbol, L or R, and a state .* got '1XB'"),
        ({"A": {0: "0RC"}}, "got '0RC'"),
        ({"A": {0: "1RA"}}, "no action for a symbol that it writes"),
        ({"A": {0: "0RA", 1: "0RB"}, "B": {0: "0RA"}}, r"no action for \('B', 1\)"),
        ({}, "has no states"),
    ],
)
def test_a_table_with_a_hole_is_refused(table, said):
    with pytest.raises(UserError, match=said):
        TuringMachine(table)


@pytest.fixture
def parser(tmp_path, monkeypatch):
    """A parser of `table` with a `config`, in a folder beside that of the machine."""
    (tmp_path / "machines").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "machines/two.yaml").write_text(json.dumps(TWO))
    (tmp_path / "runs/own.yaml").write_text("table: ../machines/two.yaml")
    (tmp_path / "torn.yaml").write_text("A: {0: 1RB")
    monkeypatch.chdir(tmp_path)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--table", type=Table)
    return parser


@pytest.mark.parametrize(
    "arguments", [["--table", "machines/two.yaml"], ["--config", "runs/own.yaml"], ["--table", json.dumps(TWO)]]
)
def test_a_table_is_written_out_or_named_by_its_file(arguments, parser):
    read = parser.parse_args(arguments)
    assert read.table == TWO
    assert parser.parse_string(parser.dump(read)).table == TWO, "wherever the dump is put"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("machines/three.yaml", "there is no file machines/three.yaml"),
        ("torn.yaml", "torn.yaml must be a YAML file"),
        ("{A: 3}", "a machine's table must be like"),
        ("{A: {x: 1RB}}", "a machine's table must be like"),
        ("[1]", "a machine's table must be like"),
    ],
)
def test_what_is_not_a_table_is_refused(table, said, parser):
    with pytest.raises(Exception, match=said):
        parser.parse_args(["--table", table])
