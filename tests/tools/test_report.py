"""Reports of a ledger that was made up: every figure is there, no panel is empty, and the table has the values."""

import csv
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from report import main, report
from reports import levels, table
from reports.cells import find_cells
from reports.rows import PAPER, best_of_seeds, read_paper, read_rows
from sweeps.ledger import curve, row

from lit_retrieval.training.memory import ceiling
from lit_retrieval.training.score_name import QUANTITIES

ROOT = Path(__file__).parents[2]
COLUMNS = (
    "hash", "point", "seed", "task", "distribution", "regime", "sizes", "samples", "state_bits", "still_rising",
    "closed_loop_accuracy", "paper_score", "undecided", "exact_match",
)  # fmt: skip
MODELS = ("transformer_0.5M", "transformer_1M", "mamba_0.5M", "mamba_1M", "hybrid_0.5M")


def result(point, regime, sizes, seed=0, task="IsTree", distribution="binary", accuracy=0.75, eval_sizes=None):
    """What a trial writes, with scores that are all the same."""
    eval_sizes = eval_sizes or sizes
    scores = dict.fromkeys(QUANTITIES, accuracy) | {"undecided": 0.1, "paper_score": accuracy + 0.05}
    grouped = {f"size_{size}/{name}": value for size in eval_sizes for name, value in scores.items()}
    distances = {f"distance_{2**power}/{name}": accuracy for power in range(3) for name in QUANTITIES}
    task_of = {"class_path": f"lit_retrieval.tasks.{task}", "init_args": {"distribution": distribution}}
    return {
        "hash": f"{point}{regime}{sizes}{seed}{task}", "point": point, "seed": seed, "commit": "abcdef0",
        "device": "a device", "attempts": 1, "minutes": 2.0, "finished": "2026-01-01T00:00:00Z", "command": "fit",
        "configuration": {"data": {"task": task_of, "regime": regime, "sizes": sizes, "val_samples": 512}},
        "samples_per_step": 64, "parameters": 1000, "state_bits": 64 * (1 + len(point)), "longest": 100,
        "state_bits_of_sizes": {str(size): size * (1 + len(point)) for size in eval_sizes},
        "samples": {str(size): 1000 for size in eval_sizes},
        "scores": scores | (grouped if len(eval_sizes) > 1 else {}) | (distances if task == "Index" else {}),
        "curve": {
            "steps": [100, 200, 300, 400], "accuracy": [0.5, 0.5, 0.6, accuracy], "exact_match": [0.0] * 4,
            "loss": [0.7, 0.6, 0.5, 0.49], "samples_per_second": 100.0,
        },
    }  # fmt: skip


def write_csv(path, rows):
    columns = list(dict.fromkeys(name for one in rows for name in one))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def ledger(tmp_path):
    """The files of a sweep over IsTree, with two seeds, and over a random access code."""
    trees = [
        result(point, regime, [n], seed)
        for point, regime, n, seed in product(MODELS, ("vanilla", "cot", "retrieval"), (16, 32), (0, 1))
    ]
    codes = [
        result(point, "vanilla", [8, 16], task="Index", distribution="random_access_code", eval_sizes=[8, 16, 32])
        for point in ("mamba_4", "mamba_8", "attention_8")
    ]
    write_csv(tmp_path / "results.csv", [row(one) for one in [*trees, *codes]])
    write_csv(tmp_path / "curves.csv", [point for one in [*trees, *codes] for point in curve(one)])
    return tmp_path / "results.csv"


def test_every_figure_is_drawn_and_no_panel_is_empty(ledger):
    pytest.importorskip("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from reports import bars, lines

    rows = read_rows([ledger])
    cells = find_cells(rows, read_paper())
    figures = [
        (bars.draw_bars(cells, "2"), 4), (bars.draw_bars(cells, "5"), 1), (lines.draw_state_bits(rows), 3),
        (lines.draw_lengths(rows), 1), (lines.draw_distances(rows), 1), (lines.draw_curves(rows), 4),
    ]  # fmt: skip
    for figure, panels in figures:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[::-1]
        assert len(figure.axes) == panels and min(pixels.shape[:2]) > 200
        for axes in figure.axes:
            box = axes.get_window_extent()
            inside = pixels[int(box.y0) + 3 : int(box.y1) - 3, int(box.x0) + 3 : int(box.x1) - 3, :3]
            assert len(np.unique(inside.reshape(-1, 3), axis=0)) > 10


PAPERS = {
    (one.architecture.replace("rnn", "mamba"), one.model_size, one.n, one.regime): one.accuracy for one in read_paper()
}
CELLS = list(product(MODELS, ("vanilla", "cot", "retrieval"), (16, 32)))


def accuracy_of(point, regime, n, seed):
    """Another number for each trial."""
    return 0.5 + 0.008 * CELLS.index((point, regime, n)) + 0.002 * seed


@pytest.fixture
def distinct(tmp_path):
    """The rows of a sweep in which no two trials have the same accuracy."""
    trials = [
        result(*cell[:2], [cell[2]], seed, accuracy=accuracy_of(*cell, seed)) for cell in CELLS for seed in (0, 1)
    ]
    codes = [
        result(f"mamba_{number}", "vanilla", [8, 16], task="Index", distribution="random_access_code", accuracy=value)
        for number, value in ((4, 0.6), (16, 0.7))
    ]
    for one in codes:
        one["scores"] |= {"size_16/closed_loop_accuracy": one["scores"]["closed_loop_accuracy"] + 0.1}
    write_csv(tmp_path / "results.csv", [row(one) for one in [*trials, *codes]])
    write_csv(tmp_path / "curves.csv", [point for one in trials for point in curve(one)])
    return read_rows([tmp_path / "results.csv"])


def test_each_line_of_the_table_has_the_numbers_of_its_trials(distinct):
    lines = table.markdown(find_cells(distinct, read_paper())).splitlines()[2:]
    found = {}
    for line in lines:
        model, n, regime, of_paper, ours, _, _, _, closed, *_ = (part.strip() for part in line.strip("|").split("|"))
        architecture, size = model.split()
        found[f"{architecture}_{size}", regime, int(n)] = closed, ours
        assert float(of_paper) == PAPERS[architecture, size, int(n), regime]
    assert len(found) == len(CELLS)
    for cell, (closed, ours) in found.items():
        expected = accuracy_of(*cell, 0) + 0.001
        assert (float(closed), float(ours)) == pytest.approx((expected, expected + 0.05), abs=6e-4), cell


def test_each_bar_has_the_height_of_its_trials_and_each_outline_that_of_the_paper(distinct):
    pytest.importorskip("matplotlib")
    from reports import bars

    for axes in bars.draw_bars(find_cells(distinct, read_paper()), "2").axes:
        size, architecture = axes.get_title().lower().replace("m ", "M ").split()
        places = {(n, regime): group + 0.27 * offset for group, n in enumerate((16, 32))
                  for offset, regime in zip((-1, 0, 1), ("vanilla", "cot", "retrieval"), strict=True)}  # fmt: skip
        filled, outlined = ([one for one in axes.patches if one.get_fill() == fill] for fill in (True, False))
        for (n, regime), place in places.items():
            (ours,), (theirs,) = ([one.get_y() + one.get_height() for one in kind
                                   if abs(one.get_x() + one.get_width() / 2 - place) < 0.01]
                                  for kind in (filled, outlined))  # fmt: skip
            expected = accuracy_of(f"{architecture}_{size}", regime, n, 0) + 0.051
            assert ours == pytest.approx(expected, abs=1e-6)
            assert theirs == pytest.approx(PAPERS[architecture, size, n, regime], abs=1e-6)


@pytest.mark.parametrize("figure", ["2", "5"])
def test_the_legend_of_a_narrow_figure_is_inside(distinct, figure):
    from figures import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from reports import bars

    with style.drawn_in("light"):
        drawn = bars.draw_bars(find_cells([row for row in distinct if row.sizes == "16"], read_paper()), figure)
        FigureCanvasAgg(drawn).draw()
    (legend,) = drawn.legends
    box = legend.get_window_extent()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= drawn.bbox.x1 and box.y1 <= drawn.bbox.y1


def test_points_stand_at_their_bits_and_lines_at_their_sizes(distinct):
    pytest.importorskip("matplotlib")
    from reports import lines

    bits = {axes.get_title().rpartition(" ")[2]: axes for axes in lines.draw_state_bits(distinct).axes}
    for size, more in (("8", 0.0), ("16", 0.1)):
        points = {tuple(point) for line in bits[size].lines for point in np.round(line.get_xydata(), 6).tolist()}
        assert {(int(size) * 8.0, 0.6 + more), (int(size) * 9.0, round(0.7 + more, 6))} <= {
            (x, round(y, 6)) for x, y in points
        }
    (axes,) = lines.draw_lengths(distinct).axes
    drawn = [np.round(line.get_xydata(), 6).tolist() for line in axes.lines]
    assert [[8.0, 0.6], [16.0, 0.7]] in drawn and [[8.0, 0.7], [16.0, 0.8]] in drawn


def test_the_command_writes_every_file_and_the_table_has_the_values(ledger, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("sys.argv", ["tools/report.py", str(ledger), "-o", str(tmp_path / "report")])
    main()
    for name, ending in product(
        ("figure2", "figure5", "state_bits", "lengths", "distances", "curves"), (".png", ".pdf")
    ):
        content = (tmp_path / f"report/{name}{ending}").read_bytes()
        assert len(content) > 5000 and b"/Type3" not in content  # fonts that publishers refuse
    lines = (tmp_path / "report/table.md").read_text().splitlines()
    assert len(lines) == 2 + 5 * 3 * 2
    (line,) = [line for line in lines if line.startswith("| mamba 0.5M | 16 | cot")]
    values = "0.838 | 0.800 | -0.038 | 0.722 to 0.776 | 0.100 | 0.750 | 0.750 | 0 1 | 25,600 | yes |"
    assert line == f"| mamba 0.5M | 16 | cot | {values}"


def test_of_several_trials_of_a_seed_the_best_by_validation_is_shown(tmp_path):
    """Those of a grid of learning rates are no seeds. The worse one in validation is better in the test."""
    worse, better = (result("mamba_0.5M", "cot", [16], accuracy=accuracy) for accuracy in (0.55, 0.75))
    worse = {**worse, "hash": "worse", "scores": {**worse["scores"], "paper_score": 0.99}}
    write_csv(tmp_path / "results.csv", [row(worse), row(better)])
    write_csv(tmp_path / "curves.csv", [*curve(worse), *curve(better)])
    (cell,) = find_cells(read_rows([tmp_path / "results.csv"]), read_paper())
    assert cell.ours("paper_score") == [0.8]


@pytest.mark.parametrize("has_loss", [True, False])
def test_equal_validations_are_decided_by_the_loss_then_by_the_hash_in_any_order(tmp_path, has_loss):
    trials = [result("mamba_0.5M", "cot", [16]) | {"hash": name} for name in ("b", "a", "c")]
    trials[2]["curve"] |= {"loss": [0.7, 0.6, 0.5, 0.48]}
    points = [point for one in trials for point in curve(one)]
    for point in points if not has_loss else ():
        del point["loss"]
    write_csv(tmp_path / "curves.csv", points)
    for order in (trials, trials[::-1]):
        write_csv(tmp_path / "results.csv", [row(one) for one in order])
        (best,) = best_of_seeds(read_rows([tmp_path / "results.csv"]))
        assert best.hash == ("c" if has_loss else "a")


def test_a_ceiling_is_that_of_the_random_bits_of_the_task(tmp_path):
    """Older results do not have their number, and only some tasks have a bit in each word."""
    pytest.importorskip("matplotlib")
    from reports import lines

    def drawn(*trials):
        write_csv(tmp_path / "results.csv", [row(one) for one in trials])
        axes = lines.draw_state_bits(read_rows([tmp_path / "results.csv"])).axes
        return {
            (one.get_title().partition(",")[0], line.get_label()): line
            for one in axes for line in one.lines if "ceiling" in line.get_label()
        }  # fmt: skip

    code = {"task": "AssociativeRecall", "distribution": "random_access_code"}
    old, index = (result("mamba_4", "vanilla", [16], **{**code, "task": task}) for task in (code["task"], "Index"))
    two, four = (old | {"hash": str(bits), "random_bits": {"16": bits}} for bits in (2, 4))
    ceilings = drawn(old, index)
    assert list(ceilings) == [("Index", "ceiling")]
    line = ceilings["Index", "ceiling"]
    for bits, accuracy in line.get_xydata()[::20]:
        assert accuracy == pytest.approx(ceiling(bits, 16))
    assert {name for _, name in drawn(two, four)} == {"ceiling of 2 bits", "ceiling of 4 bits"}
    ((_, line),) = drawn(two).items()
    assert min(x for x, y in line.get_xydata() if y > 1 - 1e-6) == pytest.approx(2)


def test_an_architecture_has_one_color_in_every_panel_and_a_bar_that_is_missing_says_so(ledger):
    pytest.importorskip("matplotlib")
    from reports import bars, lines

    rows = [row for row in read_rows([ledger]) if (row.point, row.sizes) != ("transformer_0.5M", "32")]
    colors = {}
    for figure in (lines.draw_curves(rows[::-1]), lines.draw_lengths(rows), lines.draw_state_bits(rows)):
        for axes in figure.axes:
            for line, name in zip(*axes.get_legend_handles_labels(), strict=True):
                if name not in ("guess", "ceiling"):
                    colors.setdefault(name.split("_")[0].split()[0], set()).add(line.lines[0].get_color())
    assert colors == {"transformer": {"C0"}, "mamba": {"C1"}, "hybrid": {"C2"}, "attention": {"C3"}}
    said = [text.get_text() for axes in bars.draw_bars(find_cells(rows, read_paper()), "2").axes for text in axes.texts]
    assert said.count("not run") == 0  # a size that no trial of the panel has is no gap
    rows = [row for row in rows if (row.point, row.sizes, row.regime) != ("mamba_1M", "32", "cot")]
    said = [text.get_text() for axes in bars.draw_bars(find_cells(rows, read_paper()), "2").axes for text in axes.texts]
    assert said.count("not run") == 1


def with_level(level, point, seed=0, accuracy=0.0):
    return result(point, "vanilla", [8], seed, task=f"{level} {accuracy}", accuracy=accuracy) | {"level": level}


def test_the_best_trial_of_each_level_makes_one_score_a_model(tmp_path):
    """The mean over tasks (0.7 and 0.2) of the mean over levels (0.9 and 0.5) of the mean over seeds of the best."""
    trials = [
        with_level("recall", "mamba", accuracy=0.1), with_level("recall", "mamba", accuracy=0.9),
        with_level("recall size=8", "mamba", 0, 0.4), with_level("recall size=8", "mamba", 1, 0.6),
        with_level("recall size=8", "mamba", 1, 0.3), with_level("copying", "mamba", accuracy=0.2),
        with_level("recall", "lstm", accuracy=0.75),
    ]  # fmt: skip
    write_csv(tmp_path / "results.csv", [row(one) for one in trials])
    assert levels.markdown(read_rows([tmp_path / "results.csv"])).splitlines() == [
        "| model | score | copying | recall |", "|---|---|---|---|",
        "| mamba | 0.450 | 0.200 | 0.700 |", "| lstm |  |  | 0.750 (1 of 2 levels) |", "",
        "| level | mamba | lstm |", "|---|---|---|",
        "| copying | 0.200 |  |", "| recall | 0.900 | 0.750 |", "| recall size=8 | 0.500 |  |",
    ]  # fmt: skip


def test_each_regime_of_a_level_is_a_model_of_its_own(tmp_path):
    trials = [with_level("recall", "mamba", accuracy=0.9), with_level("copying", "mamba", accuracy=0.5)]
    searches = {"data": {**trials[0]["configuration"]["data"], "regime": "retrieval"}}
    trials.append({**with_level("recall", "mamba", accuracy=0.1), "hash": "other", "configuration": searches})
    write_csv(tmp_path / "results.csv", [row(one) for one in trials])
    found = levels.best_accuracies(read_rows([tmp_path / "results.csv"]))
    assert found == {"mamba vanilla": {"recall": 0.9, "copying": 0.5}, "mamba retrieval": {"recall": 0.1}}


def test_a_sweep_without_tasks_has_no_score_of_levels(ledger):
    assert levels.markdown(read_rows([ledger])) is None


def test_a_trial_that_is_given_twice_counts_once_unless_its_scores_differ(ledger, tmp_path):
    once = read_rows([ledger])
    assert read_rows([ledger, ledger]) == once
    changed = ledger.read_text().replace("0.75", "0.25")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/results.csv").write_text(changed)
    with pytest.raises(ValueError, match="has other scores of the trial"):
        read_rows([ledger, tmp_path / "other/results.csv"])


def test_a_figure_needs_models_that_it_is_about(ledger):
    pytest.importorskip("matplotlib")
    from reports import lines

    trees = [row for row in read_rows([ledger]) if row.task == "IsTree"]
    assert lines.draw_state_bits(trees) is None and lines.draw_lengths(trees) is None


def test_a_guess_is_worth_what_an_undecided_answer_is(ledger):
    assert {round(row.chance, 3) for row in read_rows([ledger])} == {0.5}


@pytest.mark.slow
def test_the_results_that_we_keep_make_every_figure(tmp_path):
    pytest.importorskip("matplotlib")
    told = report(sorted((ROOT / "data/results").glob("*/results.csv")), tmp_path)
    assert len(told) == 8 and not [line for line in told if line.startswith("no ")]
    rows = read_rows(sorted((ROOT / "data/results").glob("*/results.csv")))
    assert any(row.distribution == "random_access_code" for row in rows)  # these have a ceiling


def test_a_model_of_another_size_is_set_beside_the_smallest_of_the_paper(tmp_path):
    write_csv(tmp_path / "results.csv", [row(result("mamba_tiny", "cot", [16]))])
    (cell,) = find_cells(read_rows([tmp_path / "results.csv"]), read_paper())
    assert (cell.paper, cell.paper_size) == (0.838, "0.5M")


def test_the_values_of_the_paper_are_those_of_its_two_figures():
    paper = read_paper(PAPER)
    assert len(paper) == 2 * 3 * 4 * 3 + 3 * 4 * 3
    assert {value.figure for value in paper} == {"2", "5"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("hash,point\n1,2\n", "has no column seed, task"),
        ("", "has no column hash"),
        (None, "can't be read"),
        (f"{','.join(COLUMNS)}\n{','.join('x' for _ in COLUMNS)}\n", "must be numbers"),
        (f"{','.join(COLUMNS)},size_16/exact_match\n", "has no column size_16/closed_loop_accuracy, size_16/"),
    ],
)
def test_a_file_of_another_kind_is_one_line(tmp_path, content, said):
    path = tmp_path / "results.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=said) as error:
        read_rows([path])
    assert "\n" not in str(error.value)
