"""Mistakes in the command lines of the tools: each is one line and status 2, and changes no file."""

import runpy
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"
MACHINE = TOOLS.parent / "configs/machines/busy_beaver_2.yaml"
GRID = TOOLS.parent / "configs/sweeps/smoke.yaml"

MISTAKES = {
    "report: no file": ("report", ["no.csv", "-o", "out"], "no.csv can't be read"),
    "report: a folder for a file": ("report", [".", "-o", "out"], ". can't be read"),
    "sweep: no grid": ("sweep", ["no.yaml", "--list"], "there is no grid no.yaml"),
    "sweep: no slots": ("sweep", [str(GRID), "--slots", "0"], "slots must be 1 or more, got 0"),
    "sweep: a file for a folder": ("sweep", ["tiny.yaml", "--on", "here", "-o", "file"], "file/trials"),
    "freeze: no file": ("freeze", ["no.yaml"], "no.yaml: No such file or directory"),
    "freeze: no task": ("freeze", ["file"], "data"),
    "benchmark: no file": ("benchmark", ["parameters", "no.yaml"], "no.yaml: No such file or directory"),
    "theorems: no size": ("theorems", ["--largest", "0"], "largest must be 4 or more, got 0"),
    "theorems: no samples": ("theorems", ["--samples", "0"], "samples must be 1 or more, got 0"),
    "theorems: a seed below 0": ("theorems", ["--seed", "-1"], "seed must be 0 or more, got -1"),
    "turing: no machine": ("turing", ["no.yaml"], "there is no file no.yaml"),
    "turing: another file": ("turing", ["tiny.yaml"], "a machine's table must be like"),
    "turing: no steps": ("turing", [str(MACHINE), "--max_steps", "0"], "max_steps must be 1 or more, got 0"),
    "turing: a symbol that the machine lacks": ("turing", [str(MACHINE), "--tape", "[1,9]"], "0 to 1, got 9"),
    "compile_gru: no run": ("compile_gru", ["no", "gru.yaml"], "there is no run no"),
    "compile_gru: no bits": ("compile_gru", ["no", "gru.yaml", "--state_bits", "0"], "state_bits must be 1"),
    "an option that does not exist": ("report", ["no.csv", "--outputs", "out"], "--outputs"),
    "a word in place of a number": ("turing", [str(MACHINE), "--max_steps", "many"], "max_steps"),
    "fla_suite: no checkout": ("fla_suite", ["no"], "no/tests must have test files, got none"),
    "fla_suite: no time": ("fla_suite", ["no", "--seconds", "0"], "seconds must be 1 or more, got 0; set --seconds"),
    "screenshots: no folder": ("screenshots", ["no", "-o", "out"], "got no, which is no folder"),
}  # fmt: skip


@pytest.mark.parametrize(("tool", "arguments", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_no_file_changes(tool, arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("seed: 1\n")
    Path("tiny.yaml").write_text(f"experiment: {TOOLS.parent}/configs/experiments/quickstart.yaml\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*")}
    monkeypatch.setattr(sys, "argv", [f"tools/{tool}.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(TOOLS / f"{tool}.py"), run_name="__main__")
    (line,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and line.startswith("error: ") and said in line
    assert {path: path.read_bytes() for path in tmp_path.rglob("*")} == before
