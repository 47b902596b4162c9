"""The figures of docs/open_questions.md: each is drawn from the committed rows, and every row is in one."""

import pytest
from open_questions import RESULTS, draw, main, questions
from reports.measured import best_heads, lines_of, of_curve, of_point, of_sizes, of_test
from reports.rows import CurvePoint, Row, read_rows

NAME = "closed_loop_accuracy"
SIZES = {f"size_{size}/{NAME}{end}": size / 100 for size in (8, 16) for end in ("", "_low", "_high")}


CURVE = [CurvePoint(samples, samples / 10_000, 0.1, 0.9) for samples in (2000, 4000)]


def row(point, test="", seed="0", accuracy=0.5, **scores):
    all_scores = {NAME: accuracy, f"{NAME}_low": accuracy - 0.1, f"{NAME}_high": accuracy + 0.1, **scores}
    return Row(point, test, "", seed, "MQAR", "", "vanilla", "64", 100, 8, False, all_scores, CURVE)


def test_numbers_are_those_of_points_tests_and_sizes():
    assert of_point(row("small_16", accuracy=0.25)) == [(16.0, "0", 0.25, 0.15, 0.35)]
    assert of_test(row("mamba_tiny", "wrong 0.1"))[0].number == 0.1 and of_test(row("mamba_tiny"))[0].number == 0
    assert of_curve(row("small_16")) == [(2.0, "0", 0.2, 0.1, 0.9), (4.0, "0", 0.4, 0.1, 0.9)]
    assert of_sizes(row("mamba_tiny", **SIZES)) == [(8, "0", 0.08, 0.08, 0.08), (16, "0", 0.16, 0.16, 0.16)]


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


MADE_UP = {
    "window": [row(f"small_{number}", "", seed) for number in (0, 8) for seed in "01"],
    "heads": [row("small_4", test, seed) for test in ("", "heads none", "heads 2") for seed in "01"],
    "place": [row(f"small_{number}", "", seed) for number in (1, 2) for seed in "01"],
    "vertices": [row("mamba_tiny", "", seed, **SIZES) for seed in "01"],
    "faults": [row("mamba_tiny", test, seed, searches=31) for test in ("", "wrong 0.1", "late 2") for seed in "01"],
}


@pytest.mark.parametrize("name", questions())
def test_rows_make_each_figure(name, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    sweeps, make = questions()[name]
    monkeypatch.setattr("open_questions.read_rows", lambda paths: MADE_UP[name])
    assert all(line for panel in make(MADE_UP[name]) for line in panel.lines.values())
    (tmp_path / sweeps[0]).mkdir()
    files = draw(name, tmp_path)
    assert [file.name for file in files] == [f"{name}{end}" for end in (".png", ".pdf", "_dark.png")]
    assert min(file.stat().st_size for file in files) > 5000


def test_what_is_expected_is_computed_from_searches_and_from_distances():
    (faults, *_) = questions()["faults"][1](MADE_UP["faults"])
    guessed = {rate: (1 + (1 - rate) ** 31) / 2 for rate in (0.0, 0.1)}
    assert {rate: faults.expected[1][rate] for rate in guessed} == pytest.approx(guessed)


@pytest.mark.parametrize("name", [name for name, (sweeps, _) in questions().items() if (RESULTS / sweeps[0]).exists()])
def test_committed_rows_have_two_seeds_at_each_number(name):
    sweeps, make = questions()[name]
    for panel in make(*(read_rows([RESULTS / sweep / "results.csv"]) for sweep in sweeps)):
        for line in panel.lines.values():
            numbers = [one.number for one in line]
            assert all(numbers.count(number) == len({one.seed for one in line}) == 2 for number in numbers)


def test_a_figure_that_is_not_there_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["tools/open_questions.py", "windows"])
    with pytest.raises(SystemExit):
        main()
    assert "the figures are window, heads, place, vertices, faults, got windows" in capsys.readouterr().err
