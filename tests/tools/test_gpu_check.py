"""The check on a GPU: its phases at the smallest sizes on a CPU, and what becomes of phases that hang."""

import argparse
import json
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import gpu_check
import pytest
import torch
from gpu_checks import fit, graphs, machine, models, own, reference
from gpu_checks.check import Check
from gpu_checks.ready import REFERENCE

from lit_retrieval.cli import main

PHASES = {**machine.PHASES, **own.PHASES}


def rows(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("phase", PHASES)
def test_a_phase_runs_on_a_cpu_and_its_rows_say_on_what_and_which_commit(tmp_path, monkeypatch, phase):
    monkeypatch.setattr("gpu_checks.check.commit", lambda: "abcdef0")
    PHASES[phase](Check(phase, tmp_path, "cpu", is_tiny=True))
    found = rows(tmp_path)
    assert found and all(row["phase"] == phase and row["commit"] == "abcdef0" for row in found)
    assert all("cpu" in row["device"] and row["torch"] for row in found)
    assert not [row["error"] for row in found if "error" in row]


def test_a_model_is_compared_with_the_reference_and_learns(tmp_path):
    models.check_one(Check("models", tmp_path, "cpu", is_tiny=True), "gru_0.5M")
    compared, trained = rows(tmp_path)
    assert compared["loss_off"] < 1e-5 and compared["gradient_off"] < 1e-4
    assert trained["last"] < trained["first"]


def test_without_tf32_a_model_is_compared_only(tmp_path):
    models.check_one(Check("ieee", tmp_path, "cpu", is_tiny=True), "gru_0.5M")
    (compared,) = rows(tmp_path)
    assert compared["gradient_off"] < 1e-4 and compared["precision"] == "ieee"


def test_the_real_command_is_fitted_and_its_curve_is_a_row(tmp_path, monkeypatch):
    def start(command, stdout, stderr):
        main(command[3:])  # here, since a process of its own would import for six seconds
        return SimpleNamespace(wait=lambda: 0)

    monkeypatch.setattr(fit, "subprocess", SimpleNamespace(Popen=start))
    fit.fit(Check("fit", tmp_path, "cpu", is_tiny=True))
    (row,) = rows(tmp_path)
    assert row["steps"] == 2 and row["val_loss"] > 0 and "error" not in row


def test_an_error_in_one_model_is_a_row(tmp_path):
    models.check_one(Check("models", tmp_path, "cpu", is_tiny=True), "nothing_0.5M")
    (row,) = rows(tmp_path)
    assert "nothing_0.5M" in row["error"]


def test_a_difference_is_found_in_the_parameter_that_has_it():
    marks = reference.read(REFERENCE, "gru_0.5M")
    name, (norm, product) = next(iter(marks.gradients.items()))
    other = marks._replace(loss=marks.loss * 1.01, gradients={**marks.gradients, name: (norm * 1.1, product)})
    difference = reference.compare(other, marks)
    assert (difference.loss, difference.gradient) == pytest.approx((0.01, 0.1)) and difference.parameter == name


def test_a_phase_that_hangs_is_ended_and_the_next_ones_run_while_there_is_time(tmp_path, monkeypatch, capfd):
    bodies = {"hangs": "time.sleep(60)", "fails": "sys.exit(3)", "runs": "pass", "late": "pass"}

    def prepare(name, arguments, stop, errors):
        program = f"import sys, time; sys.stdin.readline(); {bodies[name]}"
        return subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, text=True, start_new_session=True
        )

    monkeypatch.setattr(gpu_check, "LIMITS", {"hangs": 1.0, "fails": 30, "runs": 30, "late": 0.0})
    monkeypatch.setattr(gpu_check, "LEAST", 0.5)
    monkeypatch.setattr(gpu_check, "prepare", prepare)
    arguments = argparse.Namespace(out=tmp_path, phases=["hangs", "fails", "runs", "late"], budget=60, tiny=False)
    assert gpu_check.run_all(arguments) == 1
    said = [line.split(" after")[0] for line in capfd.readouterr().out.split("\n") if line]
    assert said == ["hangs: stopped at its time limit", "fails: failed with status 3", "runs: done", "late: skipped"]


def test_an_unknown_phase_is_refused_in_one_line_before_a_folder_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gpu_check.py", "--out", str(tmp_path / "new"), "--phases", "env,grahps"])
    with pytest.raises(SystemExit) as ended:
        gpu_check.main()
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.startswith("error: argument --phases: must be of env, scan, graphs")
    assert said.endswith("got grahps\n") and said.count("\n") == 1 and not (tmp_path / "new").exists()


def test_steps_taken_whole_have_the_same_weights(tmp_path):
    graphs.graphs(Check("graphs", tmp_path, "cpu", is_tiny=True))
    compared = rows(tmp_path)[-1]
    assert compared["same"] and compared["graphs"] == 1 and compared["off"] < 1e-5


@pytest.mark.slow
def test_the_papers_models_have_a_rate(tmp_path):
    graphs.rates(Check("rates", tmp_path, "cpu", is_tiny=True))
    *_, row = rows(tmp_path)
    assert row["samples_per_second"] == pytest.approx(4000 / row["ms_a_step"], rel=1e-3) and row["graphs"] >= 1


def test_steps_with_compiled_blocks_have_weights_like_those_without(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # code would take seconds
    torch.compiler.reset()
    graphs.blocks(Check("blocks", tmp_path, "cpu", is_tiny=True))
    compared = rows(tmp_path)[-1]
    assert compared["off"] < 1e-4 and compared["blocks_ms"] > 0 and compared["graphs"] == 1


@pytest.mark.slow
def test_the_program_runs_all_phases_on_a_cpu(tmp_path):
    program = [sys.executable, gpu_check.__file__, "--device", "cpu", "--tiny", "--out", str(tmp_path)]
    phases = [*gpu_check.LIMITS]
    done = subprocess.run([*program, "--phases", ",".join(phases), "--cells", "vanilla", "--budget", "900"])
    assert done.returncode == 0 and {row["phase"] for row in rows(tmp_path)} == {*phases}
