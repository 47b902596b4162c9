"""Sweeps: what a grid stands for, how its trials are started and shown, and mistakes."""

import csv
import errno
import io
import json
import re
import subprocess
from itertools import product

import numpy as np
import pytest
from rich.console import Console
from sweep import main
from sweeps import files
from sweeps.curve import Curve, still_rising
from sweeps.folder import alone, check_tests, how_tested
from sweeps.grid import levels, read_grid, trials
from sweeps.intervals import wilson
from sweeps.ledger import write_ledger
from sweeps.live import described, table
from sweeps.runners import check_slots
from sweeps.shares import find_shares
from sweeps.trial import run_trial, validated_samples
from tiny_sweep import ROOT, TINY, write_grid

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import IsTree, SampleStream, describe, save_samples


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["tools/sweep.py"])
    return tmp_path


def refuse(capsys, call):
    with pytest.raises((SystemExit, ValueError)) as stopped:
        call()
    line = capsys.readouterr().err.strip() or str(stopped.value)
    assert "\n" not in line
    return line


def test_a_grid_is_every_point_with_every_value_and_seed(place):
    path = write_grid(
        place,
        points={"one": {"model.learning_rate": 1e-3}, "two": {}},
        grid={"data.regime": ["cot", "vanilla"]},
        seeds=[0, 1],
    )
    found = trials(read_grid(path), place)
    assert len({trial.hash for trial in found}) == len(found) == 8
    assert [(trial.point, trial.configuration["data"]["regime"], trial.seed) for trial in found[:3]] == [
        ("one", "cot", 0), ("one", "cot", 1), ("one", "vanilla", 0),
    ]  # fmt: skip
    assert {trial.configuration["model"]["learning_rate"] for trial in found} == {1e-3, 3e-3}
    assert found[1].configuration["seed_everything"] == found[1].configuration["data"]["seed"] == 1


TASKS = {
    "lists": {
        "keys": {"data.task": {"class_path": "lit_retrieval.tasks.Index", "init_args": {"max_size": 8}}},
        "changes": [{"data.sizes": [8]}, {"data.task.init_args.num_words": 4, "trainer.max_steps": 6}],
    },
    "trees": {"keys": {"data.regime": "cot"}},
}


def test_each_task_has_a_first_level_and_levels_that_differ_from_it(place):
    fixed = {key: value for key, value in TINY.items() if key != "data.task.init_args.max_size"}
    path = write_grid(place, points={"one": {}, "two": {"model.hidden_size": 16}}, tasks=TASKS, fixed=fixed)
    found = trials(read_grid(path), place)
    names = ["lists", "lists sizes=8", "lists num_words=4", "trees"]
    assert [(trial.point, trial.level) for trial in found] == [
        (point, name) for point in ("one", "two") for name in names
    ]
    data, trainer = ([trial.configuration[part] for trial in found] for part in ("data", "trainer"))
    assert [one["sizes"] for one in data[:4]] == [[4], [8], [4], [4]]
    assert [one["task"]["init_args"].get("num_words") for one in data[:4]] == [128, 128, 4, None]
    assert [one["max_steps"] for one in trainer[:4]] == [4, 4, 6, 4] and data[3]["regime"] == "cot"
    chosen = described(found, ["trees", "sizes=8"])
    assert [(trial.level, trial.words[1]) for trial in chosen[::2]] == [("trees", "trees"), ("lists sizes=8", "lists")]


def test_a_level_is_named_by_all_keys_of_its_change_where_the_first_is_not_enough(place):
    index = {"class_path": "lit_retrieval.tasks.Index", "init_args": {"max_size": 8}}
    task = {"keys": {"data.task": index}, "changes": [
        {"data.task.init_args.num_words": 4, "trainer.max_steps": 6}, {"data.task.init_args.num_words": 4},
        {"data.sizes": [8], "trainer.max_steps": 6},
    ]}  # fmt: skip
    grid = read_grid(write_grid(place, tasks={"lists": task}))
    assert [name for name, _ in levels(grid)] == [
        "lists", "lists num_words=4 max_steps=6", "lists num_words=4", "lists sizes=8",
    ]  # fmt: skip
    task["changes"] = [{"model.state_dim": 4}, {"data.state_dim": 4}]
    with pytest.raises(UserError, match="changes of a task must have different names, got lists state_dim=4 twice"):
        levels(read_grid(write_grid(place, tasks={"lists": task})))


def test_names_that_look_like_numbers_are_text(place):
    parts = {"points": {16: {}}, "tests": {0.1: {"data.seed": 1}, 2: {"data.seed": 2}}}
    (trial,) = trials(read_grid(write_grid(place, **parts)), place)
    assert trial.point == "16" and [name for name, _ in trial.tests] == ["0.1", "2"]
    path = files.trial_folder(place / "there", trial.hash) / "result.json"
    files.write({"tested": how_tested(trial)}, path)
    check_tests([trial], place / "there")


@pytest.mark.parametrize(
    "task",
    [[], {}, {"keys": []}, {"keys": {}, "levels": []}, {"keys": {}, "changes": [{}]}, {"keys": {}, "changes": None}],
)
def test_a_task_without_keys_is_refused(place, task):
    with pytest.raises(UserError, match=r"tasks\.one must be \{keys: .*; set it in .*tiny\.yaml"):
        read_grid(write_grid(place, tasks={"one": task}))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"fixed": {**TINY, "data.seed": 7}}, "sweep sets data.seed; write seeds"),
        ({"grid": {"seed_everything": [1, 2]}}, "sweep sets seed_everything; write seeds"),
        ({"points": {"one": {"trainer.devices": 2}}}, "sweep sets trainer.devices; write gpus"),
        ({"tasks": {"one": {"keys": {"run_dir": "here"}}}}, "sweep sets run_dir; leave it out"),
        ({"regimes": {"cot": {"trainer.enable_progress_bar": True}}}, "sweep sets trainer.enable_progress_bar"),
    ],
)
def test_a_key_that_the_sweep_sets_is_refused(place, parts, said):
    with pytest.raises(UserError, match=said):
        read_grid(write_grid(place, **parts))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"points": {"one": {}, "two": {"model.recompute": "blocks"}}}, "with --model.recompute blocks would train as"),
        ({"grid": {"data.test_samples": [8, 16]}}, "with --data.test_samples 16 would train as another"),
        ({"points": {"one": {}, "two": {}}}, "must differ in their keys, got one and two with equal ones"),
        ({"tasks": {"a": {"keys": {}}, "b": {"keys": {}}}}, "must differ in their keys, got a and b with equal ones"),
    ],
)
def test_what_would_be_left_out_is_refused(place, parts, said):
    with pytest.raises(UserError, match=said):
        trials(read_grid(write_grid(place, **parts)), place)


def test_a_finished_trial_that_was_tested_otherwise_is_refused(place, capsys):
    (trial,) = trials(read_grid(write_grid(place)), place)
    path = files.trial_folder(place / "there", trial.hash) / "result.json"
    path.parent.mkdir(parents=True)
    files.write({"tested": how_tested(trial), "minutes": 12.0}, path)
    check_tests([trial], place / "there")
    more = (
        {"checkpoint": "last"}, {"tests": {"other": {"data.seed": 1}}}, {"fixed": {**TINY, "data.test_samples": 9}},
        {"fixed": {**TINY, "trainer.limit_test_batches": 1}},
    )  # fmt: skip
    for changed in more:
        (now,) = trials(read_grid(write_grid(place, **changed)), place)
        assert now.hash == trial.hash
        with pytest.raises(UserError, match="the tests are others now than when"):
            check_tests([now], place / "there")
    (limited,) = trials(read_grid(write_grid(place, fixed={**TINY, "trainer.max_time": "00:00:10:00"})), place)
    with pytest.raises(UserError, match=r"trainer\.max_time is 00:00:10:00, and was None when .*; remove .* to train"):
        check_tests([limited], place / "there")
    files.write({"tested": how_tested(trial), "minutes": 9.0}, path)  # the limit would not have stopped it
    check_tests([limited], place / "there")
    earlier = {key: value for key, value in how_tested(trial).items() if key != "trainer"}
    files.write({"tested": earlier}, path)
    check_tests([limited], place / "there")
    files.write({}, path)  # of a still earlier version
    check_tests([now], place / "there")


def test_a_trial_that_was_tested_on_other_samples_in_a_file_of_the_same_name_is_refused(place):
    """Also where a single test names the file; a result of a version that did not write the hashes counts."""
    task = IsTree(max_size=4)
    for parts in ({"fixed": {**TINY, "data.test_file": "test.npz"}}, {"tests": {"": {"data.test_file": "test.npz"}}}):
        for seed in (1, 2):
            samples = SampleStream(task, "retrieval", [4], seed, "test").take(np.arange(3))
            about = {"regime": "retrieval", "task": describe(task), "seed": seed, "split": "test"}
            save_samples(place / "test.npz", task.vocabulary, [samples], about, overwrite=True)
            (trial,) = trials(read_grid(write_grid(place, **parts)), place)
            path = files.trial_folder(place / "there", trial.hash) / "result.json"
            if seed == 1:
                files.write({"tested": how_tested(trial), "minutes": 1.0}, path)
            else:
                with pytest.raises(UserError, match="the tests are others now than when"):
                    check_tests([trial], place / "there")
        tested = {key: value for key, value in how_tested(trial).items() if key != "files"}
        files.write({"tested": tested, "minutes": 1.0}, path)
        check_tests([trial], place / "there")


def test_a_folder_has_the_names_of_the_grid_and_says_what_is_not_of_it(place, monkeypatch, capsys):
    """A point that was renamed; and trials of an earlier form of the grid, also with --only."""
    grids = [{"points": {name: {}}, "grid": {"data.regime": ["cot", "vanilla"]}} for name in ("before", "now")]
    before = trials(read_grid(write_grid(place, **grids[0])), place)
    curve = Curve([4], [0.5], [0.5], [1.0], 9.0)._asdict()
    for trial, identity in zip([*before, before[0]], [*(trial.hash for trial in before), "ffffffff"], strict=True):
        result = {
            "hash": identity, "point": "before", "level": "", "seed": 0, "commit": "abc", "minutes": 1.0,
            "finished": "2026", "scores": {"closed_loop_accuracy": 0.5}, "samples": {"4": 10}, "samples_per_step": 4,
            "configuration": trial.configuration, "curve": curve,
        }  # fmt: skip
        files.write(result, files.trial_folder(place / "out", identity) / "result.json")
    path = write_grid(place, **grids[1])
    words = ["tools/sweep.py", str(path), "--on", "here", "-o", "out", "--any_commit"]
    for more, told in (([], "2 trials, 2 of them finished"), (["--only", "cot"], "1 trial, 1 of them finished")):
        monkeypatch.setattr("sys.argv", [*words, *more])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr().out.splitlines()
        assert ended.value.code == 0 and said[0] == f"{told}; all in {place}/out"
        assert said[1] == f"finished trials in {place}/out that are not of this grid, with rows in results.csv too: 1"
    rows = list(csv.DictReader((place / "out/results.csv").open()))
    assert {row["hash"]: row["point"] for row in rows} == {
        before[0].hash: "now", before[1].hash: "now", "ffffffff": "before",
    }  # fmt: skip


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_a_warning(place, monkeypatch, capsys, number):
    def refused(file, operation):
        raise OSError(number, "no locks")

    monkeypatch.setattr("fcntl.flock", refused)
    with alone(place / "out"):
        (line,) = capsys.readouterr().err.splitlines()
    assert line == f"warning: the file system of {place}/out has no locks; start no second sweep there"
    number = errno.EIO
    with pytest.raises(OSError, match="no locks"), alone(place / "out"):
        pytest.fail("went on")


def test_slots_are_for_this_machine():
    check_slots(None, "ray")
    check_slots(2, "here")
    with pytest.raises(UserError, match="--slots is for --on here, and trials run on slurm"):
        check_slots(2, "slurm")


def test_what_is_the_same_twice_comes_once(place):
    path = write_grid(place, grid={"data.sizes": [[4], [4]]})
    assert len(trials(read_grid(path), place)) == 1


def test_a_plateau_ends_training_if_asked(place):
    (trial,) = trials(read_grid(write_grid(place, stop_on_plateau=7)), place)
    (callback,) = trial.configuration["trainer"]["callbacks"]
    assert callback["class_path"].endswith("PlateauStopping") and callback["init_args"]["patience"] == 7


def test_a_plateau_leaves_other_callbacks_in_place(place):
    summary = {"class_path": "lightning.pytorch.callbacks.ModelSummary"}
    path = write_grid(place, stop_on_plateau=7, fixed={**TINY, "trainer.callbacks": [summary]})
    (trial,) = trials(read_grid(path), place)
    names = [callback["class_path"].rpartition(".")[2] for callback in trial.configuration["trainer"]["callbacks"]]
    assert names == ["ModelSummary", "PlateauStopping"]


def test_callbacks_that_several_parts_add_are_all_there(place):
    added = {name: [{"class_path": f"lit_retrieval.training.{name}"}] for name in ("RightAnswers", "SolvedStopping")}
    path = write_grid(
        place, stop_on_plateau=7, fixed={**TINY, "trainer.callbacks+": added["RightAnswers"]},
        grid={"data.regime": ["retrieval"]}, regimes={"retrieval": {"trainer.callbacks+": added["SolvedStopping"]}},
    )  # fmt: skip
    (trial,) = trials(read_grid(path), place)
    names = [callback["class_path"].rpartition(".")[2] for callback in trial.configuration["trainer"]["callbacks"]]
    assert names == ["RightAnswers", "SolvedStopping", "PlateauStopping"]


def test_a_regime_has_keys_of_its_own(place):
    path = write_grid(
        place, grid={"data.regime": ["cot", "retrieval"]}, regimes={"retrieval": {"trainer.val_check_interval": 4}}
    )
    found = {trial.configuration["data"]["regime"]: trial for trial in trials(read_grid(path), place)}
    assert {name: trial.configuration["trainer"]["val_check_interval"] for name, trial in found.items()} == {
        "cot": 2, "retrieval": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    "parts",
    [{"points": {"a": {"data.regime": "cot"}}}, {"fixed": {**TINY, "data.regime": "cot"}},
     {"points": {"a": {"data": "mine.yaml"}}}],
    ids=["of a point", "fixed", "in a file"],
)  # fmt: skip
def test_a_regime_has_its_keys_wherever_it_is_named(place, parts):
    (place / "mine.yaml").write_text("{task: {class_path: IsTree, init_args: {max_size: 4}}, regime: cot, sizes: [4]}")
    path = write_grid(place, regimes={"cot": {"trainer.val_check_interval": 4}}, **parts)
    (trial,) = trials(read_grid(path), place)
    assert trial.configuration["data"]["regime"] == "cot"
    assert trial.configuration["trainer"]["val_check_interval"] == 4


@pytest.mark.parametrize("name", ["quickstart", "recall"])
def test_an_experiment_is_not_a_grid(name):
    path = ROOT / f"configs/experiments/{name}.yaml"
    with pytest.raises(UserError, match=f"{name}.yaml is an experiment, not a grid; run it with `python -m lit_retr"):
        read_grid(path)


def test_each_test_of_a_trained_model_has_a_row(place, monkeypatch):
    parts = {"tests": {"": {}, "nothing 0.5": {"data.eval_batch_size": 5}}, "tested": {"data.seed": 7}}
    grid = read_grid(write_grid(place, **parts))
    (trial,) = trials(grid, place)
    assert trial.hash == trials(read_grid(write_grid(place)), place)[0].hash
    scores = {"scores": {"closed_loop_accuracy": 0.5}, "samples": {"4": 10}}

    def persist(trial, step, tested, folder, *others):
        asked.append((step, *tested))
        files.write({**scores, "longest": len(asked)}, folder / "run/scores.json")
        return ""

    asked = []
    monkeypatch.setattr("sweeps.trial._persist", persist)
    monkeypatch.setattr("sweeps.trial.read_curve", lambda run: Curve([4], [0.5], [0.5], [1.0], 9.0))
    run_trial(trial, place / "sweep", "abc", retries=0, cpus=1)
    assert asked == [
        ("fit",), ("test", "--data.seed", "7"),
        ("test", "--data.seed", "7", "--data.eval_batch_size", "5"),
    ]  # fmt: skip
    assert write_ledger(place / "sweep") == 1
    rows = list(csv.DictReader((place / "sweep/results.csv").open()))
    assert [(row["test"], row["longest"]) for row in rows] == [("", "2"), ("nothing 0.5", "3")]
    assert len((place / "sweep/curves.csv").read_text().splitlines()) == 2


def test_the_papers_row_has_its_learning_rates_vocabulary_and_samples():
    path = ROOT / "configs/sweeps/paper_row_16.yaml"
    grid = read_grid(path)
    assert grid.checkpoint == "last"
    found = trials(grid, path.parent)
    assert len(found) == 9
    for trial in found:
        data, model, trainer = (trial.configuration[part] for part in ("data", "model", "trainer"))
        assert model["learning_rate"] == (1e-3 if trial.point == "transformer_0.5M" else 3e-4)
        assert trainer["max_steps"] * data["batch_size"] == 1_000_000
        assert trainer["max_steps"] % trainer["val_check_interval"] == 0
        assert data["task"]["init_args"]["max_size"] == 16 and data["test_samples"] == 5000
        assert bool(trainer["callbacks"]) == (data["regime"] == "retrieval")


def test_each_cell_of_the_papers_grid_has_its_share_of_a_gpu():
    grid = read_grid(ROOT / "configs/sweeps/paper_figure2.yaml")
    regimes, sizes = (grid.grid[key] for key in ("data.regime", "data.sizes"))
    cells = [[point, regime, *map(str, size)] for point, regime, size in product(grid.points, regimes, sizes)]
    shares = dict(zip(map(" ".join, cells), find_shares(grid.gpus, cells), strict=True))
    assert len(shares) == 108 and set(shares.values()) == {0.25, 0.5, 1}
    assert shares["mamba_2M retrieval 128"] == shares["hybrid_2M retrieval 128"] == 1
    assert shares["mamba_2M retrieval 64"] == shares["transformer_2M retrieval 128"] == 0.5
    assert shares["mamba_2M cot 128"] == shares["transformer_0.5M retrieval 128"] == 0.25


def test_only_the_trials_of_some_words_in_their_order(place):
    path = write_grid(
        place, points={"large": {"model.hidden_size": 16}, "small": {}}, grid={"data.regime": ["cot", "vanilla"]}
    )
    chosen = described(trials(read_grid(path), place), ["vanilla", "small"])
    assert [(trial.point, trial.configuration["data"]["regime"]) for trial in chosen] == [
        ("large", "vanilla"), ("small", "vanilla"), ("small", "cot"),
    ]  # fmt: skip
    assert [trial.point for trial in described(chosen, ["4"])] == ["large", "small", "small"], "a size, shown as [4]"
    with pytest.raises(UserError, match="got retrieval"):
        described(chosen, ["retrieval"])


@pytest.mark.parametrize("columns", [80, 100, 160])
def test_the_table_fits_the_terminal(place, columns):
    (one,) = trials(read_grid(write_grid(place)), place)
    found = [one._replace(hash=f"{seed:08x}", point="transformer_0.5M", seed=seed) for seed in range(32)]
    notes = [
        {"status": "running", "attempts": 12, "minutes": 1234.5},
        {"status": "failed", "attempts": 1, "minutes": 2},
    ]
    for trial, of_trial in zip(found, notes, strict=False):
        files.write(of_trial, files.trial_folder(place, trial.hash) / "trial.json")
    console = Console(width=columns, record=True, file=io.StringIO())
    console.print(table(found, place))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= columns
    assert sum("transformer_0.5M retrieval" in line for line in lines) == 30
    assert "running, start 12" in lines[1] and "1234.5" in lines[1]
    assert "1 running, 1 failed, 30 waiting; 2 are not shown" in lines[-1]


def test_the_commit_is_that_of_the_environment_or_of_git(monkeypatch):
    monkeypatch.setenv("COMMIT", "abcdef0")
    assert files.commit() == "abcdef0"
    monkeypatch.delenv("COMMIT")
    assert files.commit() not in ("abcdef0", "")
    monkeypatch.setenv("PATH", "")
    assert files.commit() == "unknown"


def test_two_states_of_changed_files_are_two_commits(place):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=b", *words], cwd=place, check=True)

    git("init", "-q")
    (place / "code.py").write_text("first")
    git("add", "code.py")
    git("commit", "-q", "-m", "first")
    commits = [files.commit(place)]
    for text in ("second", "third", "second", "first"):
        (place / "code.py").write_text(text)
        commits.append(files.commit(place))
    clean, second, third, *others = commits
    assert re.fullmatch(r"[0-9a-f]{7}", clean) and re.fullmatch(rf"{clean}-dirty-[0-9a-f]{{7}}", second)
    assert second != third and others == [second, clean]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"checkpoint": "newest"}, "checkpoint must be best or last"),
        ({"regimes": {"cot": 3}}, "cot must have keys with values"),
        ({"regimes": {"retreival": {}}}, "regimes must be among vanilla, cot, retrieval, got retreival"),
        ({"grid": {"data.regimes": ["cot"]}}, "did you mean data.regime?"),
        ({"grid": {"data.regime": []}}, "at least one value"),
        ({"tests": {"often": 3}}, "often must have keys with values"),
        ({"tests": {}}, "tests must have one test or more, got {}"),
        ({"tested": {"data.tset_samples": 3}}, "did you mean data.test_samples?"),
        ({"tests": {"": {}, "more": {"data.tset_samples": 3}}}, "did you mean data.test_samples?"),
        ({"grids": {}}, "got grids in"),
        ({"fixed": {"model": "nowhere.yaml"}}, "there is no file nowhere.yaml"),
        ({"experiment": "nowhere.yaml"}, "there is no file nowhere.yaml"),
        ({"seeds": ["many"]}, "each of seeds must be a whole number, got many"),
        ({"gpus": -1}, "gpus must be 0 or more, got -1"),
        ({"gpus": 1.5}, "gpus must be a whole number above 1, got 1.5"),
        ({"gpus": "half"}, "gpus must be a number, or numbers by words, got half"),
        ({"gpus": {"any": 0.5, "retrieval 4": "much"}}, "gpus.retrieval 4 must be a number, got much"),
        ({"gpus": {"any": 0.5, "cot": -0.5}}, "gpus.cot must be 0 or more, got -0.5"),
        ({"gpus": {"any": 0.5, "retrieval 8": 1}}, "each row of gpus must fit a trial, got retrieval 8"),
        ({"gpus": {"cot": 1}}, "gpus must have a row for every trial, and none fits retrieval 4"),
        ({"cpus": 0}, "cpus must be 1 or more, got 0"),
        ({"retries": -1}, "retries must be 0 or more, got -1"),
        ({"stop_on_plateau": 0}, "stop_on_plateau must be 1 or more, got 0"),
    ],
)
def test_a_mistake_in_a_grid_is_one_line(place, capsys, parts, said):
    path = write_grid(place, **parts)
    assert said in refuse(capsys, lambda: trials(read_grid(path), place))


def test_a_grid_that_is_not_there_is_one_line(place, capsys):
    assert "there is no grid" in refuse(capsys, lambda: read_grid(place / "nowhere.yaml"))


@pytest.mark.parametrize(
    ("share", "samples", "low", "high"),
    [(0.0, 10, 0.0, 0.2775), (0.5, 10, 0.2366, 0.7634), (0.9, 100, 0.8256, 0.9448), (1.0, 5000, 0.9992, 1.0)],
)
def test_intervals_are_those_of_wilson(share, samples, low, high):
    assert wilson(share, samples) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("accuracy", "loss", "is_rising"),
    [
        ([0.5, 0.5, 0.5, 0.5], [0.7, 0.7, 0.7, 0.69], False),
        ([0.5, 0.5, 0.5, 0.8], [0.7, 0.7, 0.7, 0.69], True),
        ([0.5, 0.5, 0.5, 0.5], [0.7, 0.7, 0.6, 0.5], True),
        ([0.5, 0.5, 0.9, 0.995], [0.7, 0.7, 0.6, 0.5], False),
        ([0.5, 0.8], [0.7, 0.6], True),
        ([0.5], [0.7], False),
    ],
)
def test_a_curve_that_still_rises_is_told(accuracy, loss, is_rising):
    assert still_rising(accuracy, [0.0] * len(accuracy), loss, samples=512) == is_rising


def test_a_trial_of_another_commit_is_one_line_and_nothing_is_deleted(place, monkeypatch, capsys):
    path = write_grid(place)
    (trial,) = trials(read_grid(path), place)
    notes = files.trial_folder(place / "sweeps/tiny", trial.hash) / "trial.json"
    files.write({"commit": "abcdef0", "status": "running"}, notes)
    monkeypatch.setattr("sys.argv", ["tools/sweep.py", str(path), "--on", "here"])
    line = refuse(capsys, main)
    assert "was begun at commit abcdef0" in line and "--any_commit" in line
    assert json.loads(notes.read_text())["commit"] == "abcdef0"


def test_a_ledger_without_results_is_its_head(place):
    assert write_ledger(place) == 0
    assert len((place / "results.csv").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("file", "limit", "validated"),
    [(None, None, 512), ("val.npz", None, 20), (None, 2, 64), ("val.npz", 2, 20), (None, 0.5, 256), (None, 1.0, 512)],
)
def test_the_samples_of_a_validation_are_those_that_are_scored(tmp_path, file, limit, validated):
    task = IsTree(max_size=4)
    stream = SampleStream(task, "vanilla", [4], 0, "validate")
    save_samples(tmp_path / "val.npz", task.vocabulary, [stream.take(np.arange(20))], {"regime": "vanilla"})
    configuration = {
        "data": {"val_samples": 512, "val_file": file, "eval_batch_size": 32},
        "trainer": {"limit_val_batches": limit},
    }
    assert validated_samples(configuration, tmp_path) == validated
