"""Every file in configs/ goes through the command line."""

import re
import sys
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest
import yaml
from catalogue import missing
from pretrained_models import write_folder
from sweeps.grid import levels, read_grid, trials
from text_tokenizers import byte_level, save, sentences

from lit_retrieval.cli import main, read_configuration

CONFIGS = Path(__file__).parents[1] / "configs"
EXPERIMENTS = sorted((CONFIGS / "experiments").rglob("*.yaml"))
CONSTRUCTIONS = sorted((CONFIGS / "constructions").rglob("*.yaml"))
SWEEPS = sorted((CONFIGS / "sweeps").rglob("*.yaml"))
PARTS = sorted(path for part in ("data", "model", "trainer") for path in (CONFIGS / part).rglob("*.yaml"))
SMALL = [
    "--data.batch_size", "2", "--data.eval_batch_size", "2", "--data.val_samples", "2", "--data.max_new_tokens", "40",
]  # fmt: skip


def name(path):
    return str(path.relative_to(CONFIGS))


def is_pretrained(path):
    """Whether a folder of weights is needed: tests of the command line have a small one."""
    return "smollm2" in path.read_text()


@pytest.mark.parametrize("path", [path for path in EXPERIMENTS if not is_pretrained(path)], ids=name)
def test_every_experiment_runs(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["fit", "--config", str(path), *SMALL, "--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu"])
    assert "validation after 1 step" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")
@pytest.mark.parametrize(
    "regime", ["retrieval", *(pytest.param(one, marks=pytest.mark.slow) for one in ("cot", "vanilla"))]
)
def test_the_experiments_on_friends_run_with_other_weights_in_the_folders(regime, tmp_path, monkeypatch, capsys):
    pytest.importorskip("peft")
    monkeypatch.chdir(tmp_path)
    tokenizer = byte_level(sentences(4, 20))
    size = tokenizer.get_vocab_size()
    folder = write_folder(tmp_path / "models/smollm2", "mistral", vocab_size=size, max_position_embeddings=8192)
    save(tokenizer, folder)
    main(
        ["fit", "--config", str(CONFIGS / f"experiments/friends_smollm2_{regime}.yaml"), "--data.sizes", "[2]",
         "--data.eval_sizes", "[2, 9]", *SMALL, "--data.max_new_tokens", "64", "--trainer.fast_dev_run", "true"]
    )  # fmt: skip
    assert "validation after 1 step" in capsys.readouterr().out


def assert_right(arguments, capsys):
    main(["test", *arguments, "--data.test_samples", "20", "--trainer.accelerator", "cpu",
          "--trainer.enable_progress_bar", "false"])  # fmt: skip
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("all ")]
    assert line.split()[1] == "1.0000"


@pytest.mark.parametrize(
    "path",
    [
        # A hundred steps of a machine; the others have fewer.
        pytest.param(path, marks=[pytest.mark.slow] if path.stem.endswith("busy_beaver_4") else [])
        for path in CONSTRUCTIONS
    ],
    ids=name,
)
def test_every_construction_is_right(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = yaml.safe_load(path.read_text())["data"]["task"]["init_args"]
    assert_right(
        ["--config", str(path), *([] if {"table", "circuit"} & arguments.keys() else ["--data.sizes", "[8, 16]"])],
        capsys,
    )


@pytest.mark.parametrize("problem", ["index", "associative_recall", "ngram_retrieval"])
@pytest.mark.parametrize("theorem", ["4_6", "5_2", "5_6"])
def test_a_theorem_is_right_on_the_other_problems(theorem, problem, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert_right(
        ["--config", str(CONFIGS / f"constructions/theorem_{theorem}.yaml"),
         "--data", str(CONFIGS / f"data/{problem}_n1024.yaml"), "--model.construction.problem", problem,
         "--data.sizes", "[8, 16]"], capsys,
    )  # fmt: skip


@pytest.mark.parametrize("path", CONSTRUCTIONS, ids=name)
def test_a_machine_or_a_circuit_is_named_by_its_file_and_not_copied(path):
    content = yaml.safe_load(path.read_text())
    tables = [part["init_args"][name] for part in (content["data"]["task"], content["model"]["construction"])
              for name in ("table", "circuit") if name in part.get("init_args", {})]  # fmt: skip
    assert len(set(tables)) <= 1 and all((path.parent / table).is_file() for table in tables)


def test_every_file_is_an_experiment_or_a_part_of_one_or_a_sweep_or_a_task_of_ones_own_or_a_table():
    tables = [*(CONFIGS / "machines").iterdir(), *(CONFIGS / "circuits").iterdir()]
    others = [CONFIGS / "own_task/hops.yaml", *tables, *(CONFIGS / "compare").iterdir()]  # see tools/test_compare.py
    assert sorted([*EXPERIMENTS, *PARTS, *CONSTRUCTIONS, *SWEEPS, *others]) == sorted(CONFIGS.rglob("*.yaml"))


def is_like_another(path):
    """Models of fla differ in the layer alone."""
    return "fla.layers" in path.read_text() and path.stem not in ("gla_0.5M", "mesa_net_0.5M")


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] if is_like_another(path) else []) for path in PARTS],
    ids=name,
)
def test_every_part_fits_into_an_experiment(path):
    quickstart, part = str(CONFIGS / "experiments/quickstart.yaml"), path.parent.name
    read = read_configuration(["fit", "--config", quickstart, f"--{part}", str(path)])[part]
    keys = yaml.safe_load(path.read_text()).keys()
    assert keys and keys <= read.keys()


QUICK = ("first_state", "paper_row_16", "paper_row_16_seeds", "smoke")  # the others have many points and values


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=[] if path.stem in QUICK else [pytest.mark.slow]) for path in SWEEPS], ids=name
)
def test_every_point_and_every_value_of_a_sweep_has_a_configuration_of_its_own(path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["tools/sweep.py"])
    grid = read_grid(path)
    first_values = {key: values[:1] for key, values in grid.grid.items()}
    first_point, first_task = (dict(list(part.items())[:1]) for part in (grid.points, grid.tasks))
    for part, count in (
        ({"tasks": first_task, "grid": first_values}, len(grid.points) * len(levels(replace(grid, tasks=first_task)))),
        ({"points": first_point, "grid": first_values}, len(levels(grid))),
        (
            {"points": first_point, "tasks": first_task},
            prod(map(len, grid.grid.values())) * len(levels(replace(grid, tasks=first_task))),
        ),
    ):
        part |= {"seeds": [0], "gpus": 1.0}  # shares by words are for all trials
        assert len(trials(replace(grid, **part), path.parent)) == count


@pytest.mark.slow
def test_mad_tests_each_level_at_the_sizes_and_on_the_words_that_it_trains_on():
    """The experiment that a grid varies may have keys of its own, such as eval_sizes."""
    grid = read_grid(CONFIGS / "sweeps/mad_small.yaml")
    grid = replace(grid, points=dict(list(grid.points.items())[:1]), grid={})
    data = [trial.configuration["data"] for trial in trials(grid, CONFIGS / "sweeps")]
    assert {(one["eval_sizes"], one["regime"], one["suite"]) for one in data} == {(None, "vanilla", None)}
    assert {one["train_samples"] for one in data} == {256, 12_800}


@pytest.mark.parametrize("path", EXPERIMENTS, ids=name)
def test_an_experiment_is_references_and_a_seed(path):
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    assert {line.split(":")[0] for line in lines} == {"seed_everything", "data", "model", "trainer"}
    for line in lines:
        key, value = line.split(": ")
        assert key == "seed_everything" or (path.parent / value).is_file()


def test_every_exported_task_has_a_data_file():
    text = "".join(path.read_text() for path in PARTS if path.parent.name == "data")
    assert not missing(re.findall(r"lit_retrieval\.tasks\.(\w+)", text))
