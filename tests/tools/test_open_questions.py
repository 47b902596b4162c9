"""The figures of docs/open_questions.md: each is drawn from the committed rows, and every row is in one."""

import shutil
from pathlib import Path

import pytest
from open_questions import RESULTS, draw, main, questions
from reports.measured import best_heads, lines_of, of_point, of_sizes, of_test
from reports.rows import Row, read_rows

NAME = "closed_loop_accuracy"


def row(point, test="", seed="0", accuracy=0.5, **scores):
    all_scores = {NAME: accuracy, f"{NAME}_low": accuracy - 0.1, f"{NAME}_high": accuracy + 0.1, **scores}
    return Row(point, test, "", seed, "MQAR", "", "vanilla", "64", 100, 8, False, all_scores, [])


def test_numbers_are_those_of_points_tests_and_sizes():
    assert of_point(row("small_16", accuracy=0.25)) == [(16.0, "0", 0.25, 0.15, 0.35)]
    assert of_test(row("mamba_tiny", "wrong 0.1"))[0].number == 0.1 and of_test(row("mamba_tiny"))[0].number == 0
    sizes = {f"size_{size}/{NAME}{end}": size / 100 for size in (8, 16) for end in ("", "_low", "_high")}
    assert of_sizes(row("mamba_tiny", **sizes)) == [(8, "0", 0.08, 0.08, 0.08), (16, "0", 0.16, 0.16, 0.16)]


def test_lines_are_named_by_points_or_tests_and_empty_ones_are_left_out():
    rows = [row("small_0"), row("small_8"), row("large_8"), row("mamba_tiny", "wrong 0.1")]
    found = lines_of(rows[:3], {"small": "few", "large": "many", "late": "late"}, of_point)
    assert {name: [one.number for one in line] for name, line in found.items()} == {"few": [0, 8], "many": [8]}
    assert list(lines_of(rows, {"wrong": "wrong word"}, of_test)) == ["wrong word"]


def test_the_best_set_of_heads_of_each_seed_counts():
    tests = {"": 0.9, "heads none": 0.1, "heads 0": 0.2, "heads 3": 0.6, "heads 0 3": 0.8, "heads 1 2": 0.7}
    rows = [row("small_4", test, seed, accuracy / (1 + int(seed))) for test, accuracy in tests.items() for seed in "01"]
    found = {(one.seed, one.number): one.accuracy for one in best_heads(rows, 4)}
    best = {4: 0.9, 0: 0.1, 1: 0.6, 2: 0.8}
    assert found == {(seed, number): best[number] / (1 + int(seed)) for seed in "01" for number in best}


@pytest.mark.parametrize("name", [one for one, (sweeps, _) in questions().items() if (RESULTS / sweeps[0]).exists()])
def test_the_committed_rows_make_each_figure(name, tmp_path):
    pytest.importorskip("matplotlib")
    sweeps, make = questions()[name]
    for sweep in sweeps:
        (tmp_path / sweep).mkdir()
        shutil.copy(RESULTS / sweep / "results.csv", tmp_path / sweep)
    panels = make(*(read_rows([tmp_path / sweep / "results.csv"]) for sweep in sweeps))
    assert all(panel.lines for panel in panels)
    assert all(len({one.seed for one in line}) >= 2 for panel in panels for line in panel.lines.values())
    assert {Path(file).name for file in draw(name, tmp_path)} == {
        f"{name}{end}" for end in (".png", ".pdf", "_dark.png")
    }


def test_a_figure_that_is_not_there_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["tools/open_questions.py", "windows"])
    with pytest.raises(SystemExit):
        main()
    assert "the figures are window, heads, place, vertices, faults, got windows" in capsys.readouterr().err
