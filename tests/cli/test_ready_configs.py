"""Configurations that come with the package are found by their names, from any folder."""

from pathlib import Path

import pytest

from lit_retrieval.cli import read_configuration
from lit_retrieval.cli.ready_configs import find_configs, folder
from lit_retrieval.runs import run_hash

CONFIGS = Path(__file__).parents[2] / "configs"
QUICKSTART = str(CONFIGS / "experiments/quickstart.yaml")
MAMBA = str(CONFIGS / "model/mamba_0.5M.yaml")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lit_retrieval"])


@pytest.mark.parametrize("ending", ["", ".yaml"])
@pytest.mark.parametrize("place", ["", "experiments/", "configs/experiments/"])
@pytest.mark.parametrize("form", [["--config", "{}"], ["--config={}"], ["-c", "{}"]])
def test_an_experiment_has_several_names(form, place, ending):
    given = [word.format(f"{place}quickstart{ending}") for word in form]
    assert find_configs(["fit", *given]) == ["fit", *(word.format(QUICKSTART) for word in form)]


@pytest.mark.parametrize(
    ("option", "value", "file"),
    [
        ("--config", "theorem_5_2", "constructions/theorem_5_2.yaml"),
        ("--model", "mamba_0.5M", "model/mamba_0.5M.yaml"),
        ("--data", "istree_n16_retrieval", "data/istree_n16_retrieval.yaml"),
        ("--trainer", "quick", "trainer/quick.yaml"),
    ],
)
def test_every_part_has_its_names(option, value, file):
    assert find_configs([option, value]) == [option, str(CONFIGS / file)]


@pytest.mark.parametrize("file", ["quickstart", "quickstart.yaml", "experiments/quickstart.yaml"])
def test_a_file_in_the_current_folder_wins(file):
    Path(file).parent.mkdir(exist_ok=True)
    Path(file).write_text("seed_everything: 7\n")
    assert find_configs(["--config", file.removesuffix(".yaml")]) == ["--config", file]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--model", "{hidden_size: 8}"], ["--model", "null"], ["--model.hidden_size", "quickstart"], ["--data={"],
        ["--model", MAMBA], ["--ckpt_path", "best"], ["--config"], ["--config", "--model.hidden_size=3"],
    ],
)  # fmt: skip
def test_what_is_no_name_stays(arguments):
    assert find_configs(arguments) == arguments


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--config", "quikstart"],
            "no file quikstart; write the path of a YAML in --config, or a name such as quick",
        ),
        (["--model=mamba_0.4M"], "in --model, or a name such as mamba_0.5M"),
        (["--config", "mamba_0.5M"], "no file mamba_0.5M"),
        (["--data", "zzzzzz"], "no file zzzzzz; write the path of a YAML in --data\n"),
    ],
)
def test_a_name_of_nothing_is_refused_with_the_nearest(arguments, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        find_configs(arguments)
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and said in error and error.count("\n") == 1


def test_the_folder_of_a_run_is_refused_with_its_file(capsys):
    Path("runs/one").mkdir(parents=True)
    Path("runs/one/config.yaml").touch()
    with pytest.raises(SystemExit):
        find_configs(["--config", "runs/one"])
    assert "runs/one is the folder of a run; write --config runs/one/config.yaml" in capsys.readouterr().err


def test_names_and_paths_are_one_configuration():
    named = read_configuration(["fit", "--config", "istree", "--model", "mamba_0.5M", "--trainer", "quick"])
    paths = ["experiments/istree", "model/mamba_0.5M", "trainer/quick"]
    experiment, model, trainer = (str(CONFIGS / f"{path}.yaml") for path in paths)
    by_path = read_configuration(["fit", "--config", experiment, "--model", model, "--trainer", trainer])
    assert named == by_path and named["trainer"]["max_steps"] == 700


def test_a_checkout_has_its_own_folder():
    assert folder() == CONFIGS


@pytest.mark.parametrize(
    ("model", "run"), {"mamba_0.5M": "63b2d161", "transformer_0.5M": "59cad48c", "window_0.5M": "6b4d0f41"}.items()
)
def test_new_keys_leave_runs_their_names(model, run):
    assert run_hash(read_configuration(["fit", "--config", "istree", "--model", model])) == run
