"""A configuration is code: naming a class imports its module. An allow-list says which may be named."""

import subprocess
import sys

import pytest

STEPS = ["--trainer.max_steps", "1", "--trainer.limit_val_batches", "0"]
OWN = "import pathlib\npathlib.Path('imported').touch()\nclass Task: pass\n"


@pytest.mark.parametrize("value", [pytest.param("own.Task", marks=pytest.mark.slow), "{class_path: own.Task}"])
@pytest.mark.parametrize("more", [[], ["--print_config"]], ids=["run", "print"])
def test_what_is_not_allowed_is_not_imported(place, value, more):
    (place.path / "own.py").write_text(OWN)
    place.environment["LIT_RETRIEVAL_ALLOW"] = "lit_retrieval,noise"
    said = place.run("fit", "--data.task", value, *more, status=2)
    assert "Importing 'own.Task' is not allowed" in said and len(said.splitlines()) <= 15
    assert not (place.path / "imported").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["lit_retrieval.tasks", "show", "--task", "own.Task", "--sizes", "[4]"],
        ["lit_retrieval.mixers", "check", "own.Task"],
    ],
    ids=["tasks", "mixers"],
)
def test_nor_by_the_commands_without_the_trainer(place, words):
    (place.path / "own.py").write_text(OWN)
    environment = {**place.environment, "LIT_RETRIEVAL_ALLOW": "lit_retrieval,noise"}
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, cwd=place.path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "'own.Task' is not allowed" in done.stderr
    assert not (place.path / "imported").exists()


def test_what_is_allowed_runs_and_a_name_that_is_none_is_refused(place):
    place.environment["LIT_RETRIEVAL_ALLOW"] = "lit_retrieval, noise"
    place.fit(*STEPS)
    place.environment["LIT_RETRIEVAL_ALLOW"] = "../noise"
    assert "must be package names with commas between them, got '../noise'" in place.fit(*STEPS, status=2)
