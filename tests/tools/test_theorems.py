"""tools/theorems.py and tools/turing.py: what they run is right, and what they print is what they ran."""

from pathlib import Path

import pytest
import theorems
from theorems import _circuit_cases, _graph_cases, _largest, _line, _machine_cases, _recall_cases, _simple_cases
from turing import turing

MACHINES = Path(theorems.__file__).parents[1] / "configs/machines"
QUICK = [case for case in _machine_cases() if case.task_name != "busy_beaver_4"]  # which takes 107 steps
CASES = [
    *_simple_cases((4, 8)), *_recall_cases((4, 8)), *(case._replace(sizes=(8,)) for case in _graph_cases(8)),
    *(case._replace(sizes=case.sizes[:1]) for case in [*QUICK, next(_circuit_cases())]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.theorem}-{case.task_name}")
def test_a_line_says_that_every_answer_of_a_model_is_right(case):
    line = _line(case, samples=3, seed=0)
    largest = f"{case.sizes[-1]:,}" if case.sizes[-1] else "-"
    assert line[:3] == [case.theorem, case.task_name, case.model]
    assert all(int(count.replace(",", "")) > 0 for count in line[3:7])
    assert line[7:] == [largest, "1.000", largest, "1.000"]


def test_associative_recall_is_right_as_far_as_the_memory_reaches():
    case, _ = _recall_cases((16, 64))
    line = _line(case, samples=50, seed=0)
    assert (line[7], line[9]) == ("16", "16") and 0.7 < float(line[8]) == float(line[10]) < 0.95


@pytest.mark.parametrize(
    ("right", "largest"),
    [
        ({4: 1.0, 16: 1.0}, "16"),
        ({4: 1.0, 16: 0.9, 64: 1.0}, "4"),
        ({4: 0.5}, "-"),
        ({0: 1.0}, "-"),
        ({1024: 1.0}, "1,024"),
    ],
)  # fmt: skip
def test_the_largest_size_is_that_up_to_which_all_is_right(right, largest):
    assert _largest(right) == largest


def test_the_table_has_a_line_for_each_case(monkeypatch, capsys):
    monkeypatch.setattr(theorems, "_line", lambda case, samples, seed: [case.theorem] * 11)
    theorems.theorems(largest=16)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    cases = [*_simple_cases((4, 16)), *_recall_cases((4, 16)), *_graph_cases(16), *_machine_cases(), *_circuit_cases()]
    assert [line.split(" | ")[1] for line in lines[2:]] == [case.theorem for case in cases]
    assert {line.count("|") for line in lines} == {12}


@pytest.mark.parametrize("theorem", ["5.4", "5.8"])
@pytest.mark.parametrize(("machine", "steps", "ones"), [("busy_beaver_2", 6, 4), ("busy_beaver_3", 21, 5)])
def test_a_busy_beaver_leaves_as_many_ones_as_is_known(machine, steps, ones, theorem, capsys):
    turing(MACHINES / f"{machine}.yaml", theorem=theorem)
    *lines, verdict = capsys.readouterr().out.splitlines()
    assert len(lines) == steps and lines[-1].split()[2:].count("1") == ones and verdict == "HALT"


def test_a_run_without_a_verdict_says_what_to_raise(capsys):
    turing(MACHINES / "busy_beaver_3.yaml", max_steps=3)
    assert "raise --max_steps" in capsys.readouterr().out.splitlines()[-1]
