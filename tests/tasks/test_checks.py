"""`tasks check-class`: our tasks pass, and each broken task fails on the rule that it breaks and on no other."""

import random
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from broken_tasks import BROKEN, OF_PROCESSES, Forgotten, Mistyped, Parity, Talkative, WithoutSearch
from catalogue import TASKS

from lit_retrieval.conformance import BrokenRuleError, NotApplicableError, path_of
from lit_retrieval.data import TranscriptData
from lit_retrieval.errors import UserError
from lit_retrieval.tasks import CircuitRun, MachineRun, SampleStream, SmallSpaceRun
from lit_retrieval.tasks.__main__ import main
from lit_retrieval.tasks.checks import RULES, Case, check_task, report
from lit_retrieval.tasks.checks.processes import is_the_same_in_all_processes

ROOT = Path(__file__).parents[2]
REGIMES = {Talkative: "vanilla"}  # the one in which it is broken
IN_MANY = {Mistyped, WithoutSearch}  # what a few right samples may have, too
CHEAP = {rule.name for rule in RULES if rule.is_cheap}


def results(task, sizes):
    """The verdicts of the rules that need no other process."""
    return {verdict.rule: verdict for verdict in report(task, sizes) if verdict.rule != "processes"}


@pytest.mark.parametrize("name", TASKS)
def test_every_task_keeps_all_rules(name):
    task, sizes = TASKS[name]
    assert not [verdict for verdict in results(task, sizes).values() if verdict.result != "pass"]


@pytest.mark.parametrize("make", [MachineRun, partial(SmallSpaceRun, space=12)], ids=["whole tape", "small space"])
@pytest.mark.parametrize("machine", ["palindrome", "increment"])
def test_runs_of_machines_keep_all_rules(make, machine):
    task = make(yaml.safe_load((ROOT / f"configs/machines/{machine}.yaml").read_text()))
    found = results(task, [1, 4])
    assert {verdict.result for verdict in found.values()} <= {"pass", "n/a"}


@pytest.mark.parametrize("make", [MachineRun, partial(SmallSpaceRun, space=12)], ids=["whole tape", "small space"])
def test_a_machine_with_only_the_blank_runs_on_an_empty_tape(make):
    task = make({"A": {0: "0RB"}, "B": {0: "0RHALT"}})
    assert {verdict.result for verdict in results(task, [0]).values()} <= {"pass", "n/a"}
    with pytest.raises(UserError, match=r"size must be 0 to 0, got 1; set data\.sizes"):
        task.check_size(1)


def test_runs_of_a_circuit_keep_all_rules():
    task = CircuitRun(yaml.safe_load((ROOT / "configs/circuits/parity.yaml").read_text()))
    found = results(task, [1, 4])
    assert {verdict.result for verdict in found.values()} <= {"pass", "n/a"}


def test_a_right_task_passes_and_the_answers_are_counted():
    found = results(Parity(), [8])
    assert {verdict.result for verdict in found.values()} == {"pass"}
    assert found["answers"].shown == "answers a sample: 1 to 1"


@pytest.mark.parametrize("broken", BROKEN, ids=lambda task: task.__name__)
def test_a_broken_task_fails_on_the_rule_that_it_breaks(broken):
    rule, said = BROKEN[broken]
    (failed,) = [verdict for verdict in results(broken(), [8]).values() if verdict.result == "FAIL"]
    assert failed.rule == rule and said in failed.shown and "\n" not in failed.shown


@pytest.mark.parametrize(
    "broken", [one for one, (rule, _) in BROKEN.items() if rule in CHEAP and one not in IN_MANY], ids=path_of
)
def test_what_is_cheap_to_see_is_refused_in_one_line(broken):
    rule, said = BROKEN[broken]
    with pytest.raises(UserError) as refused:
        check_task(broken(), REGIMES.get(broken, "retrieval" if rule in ("oracle", "regime") else "cot"), [8])
    line = str(refused.value)
    assert said in line and "\n" not in line
    assert line.startswith(f"broken_tasks.{broken.__name__} breaks the rule `{rule}`: ")


@pytest.mark.parametrize("broken", OF_PROCESSES, ids=lambda task: task.__name__)
def test_samples_that_depend_on_the_process_are_found_by_another_one(broken, monkeypatch):
    assert {verdict.result for verdict in results(broken(), [8]).values()} == {"pass"}
    monkeypatch.setattr("lit_retrieval.tasks.checks.processes._HASH_SEEDS", ["1"])
    case = Case(broken(), (8,), broken.regimes, written={"class_path": path_of(broken), "init_args": {}})
    with pytest.raises(BrokenRuleError, match=f"{OF_PROCESSES[broken]} must .* in all processes, and are not"):
        is_the_same_in_all_processes(case)


def test_a_task_that_no_other_process_can_build_is_not_broken(monkeypatch):
    monkeypatch.setattr("lit_retrieval.tasks.checks.processes._HASH_SEEDS", ["1"])
    case = Case(Parity(), (8,), Parity.regimes, written={"class_path": "nowhere.Task"})
    with pytest.raises(NotApplicableError, match=r"another process can't build it: .*nowhere"):
        is_the_same_in_all_processes(case)


def test_a_check_leaves_the_global_random_numbers_alone():
    random.seed(5), np.random.seed(5)
    expected = random.random(), np.random.rand()
    random.seed(5), np.random.seed(5)
    check_task(Parity(), "cot", [8])
    assert (random.random(), np.random.rand()) == expected


@pytest.mark.parametrize("make", [
    lambda task: TranscriptData(task, sizes=[4]),
    lambda task: SampleStream(task, "cot", [4], 0, "fit").take(np.arange(2)),
], ids=["the trainer", "show and write"])  # fmt: skip
def test_a_forgotten_constructor_is_named_everywhere(make):
    with pytest.raises(UserError, match="Forgotten must have vocabulary and answer_words and chance; call super"):
        make(Forgotten())


@pytest.mark.parametrize("command", ["show", "check-class"])
def test_the_methods_that_a_class_lacks_are_named(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--task", "broken_tasks.Abstract"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: broken_tasks.Abstract must define write_turns; add this to the class\n"


def test_the_report_fits_80_columns_and_the_status_says_how_it_went(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    main(["check-class", "broken_tasks.Parity"])
    said = capsys.readouterr()
    right = said.out.splitlines()
    assert not said.err
    with pytest.raises(SystemExit) as ended:
        main(["check-class", "broken_tasks.Unseeded", "--sizes", "[4, 8]"])
    wrong = capsys.readouterr().out.splitlines()
    assert ended.value.code == 1 and wrong[-1] == "broken: distinct"
    assert right[0] == "broken_tasks.Parity, sizes [8]" and right[-1] == "all 15 rules that apply hold"
    assert max(len(line.rstrip()) for line in [*right, *wrong]) <= 80
    main(["check-class", "lit_retrieval.tasks.Index", "--init_args", "{max_size: 12}", "--sizes", "[12]"])
    with pytest.raises(SystemExit):
        main(["check-class", "lit_retrieval.tasks.Index", "--task.max_size", "4", "--sizes", "[12]"])
    assert "size must be 1 to 4, got 12" in capsys.readouterr().err


def test_a_machine_that_halts_outside_its_cells_leaves_them():
    """Before, the tape of its last step had the verdict before its last cell."""
    halting = {"A": {0: "1LHALT", 1: "1LHALT"}}
    with pytest.raises(UserError, match="the machine leaves the space=4"):
        SmallSpaceRun(halting, 4, head=0).sample(0, np.arange(1), np.array([2]), "cot")
