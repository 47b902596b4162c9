"""A configuration is code: naming a class imports its module. An allow-list says which may be named."""

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


def test_what_is_allowed_runs_and_a_name_that_is_none_is_refused(place):
    place.environment["LIT_RETRIEVAL_ALLOW"] = "lit_retrieval, noise"
    place.fit(*STEPS)
    place.environment["LIT_RETRIEVAL_ALLOW"] = "../noise"
    assert "must be package names with commas between them, got '../noise'" in place.fit(*STEPS, status=2)
