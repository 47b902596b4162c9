"""tools/freeze.py: what it writes is what the trainer compares test samples with."""

from pathlib import Path

import pytest
import yaml
from freeze import describe, main

from lit_retrieval.data import TranscriptData
from lit_retrieval.data.suite import Suite
from lit_retrieval.errors import UserError
from lit_retrieval.tasks import REGIMES, IsTree

SUITES = Path(__file__).parents[2] / "data/evaluation"
CONFIGURATION = """# Trees.
task: {class_path: lit_retrieval.tasks.IsTree, init_args: {max_size: 4}}
regime: retrieval
sizes: [4]
test_samples: 6
"""


@pytest.fixture
def freeze(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["tools/freeze.py", *map(str, arguments)])
        main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "trees.yaml"
    path.write_text(CONFIGURATION)
    return path


def test_what_is_frozen_is_what_a_test_asks_for(freeze, file):
    assert "froze" in freeze(file)
    text = file.read_text()
    suite = yaml.safe_load(text)["suite"]
    assert text.startswith(CONFIGURATION) and suite["name"] == "trees" and set(suite["sha256"]) == set(REGIMES)
    frozen = Suite(**suite)
    for regime in REGIMES:
        TranscriptData(IsTree(max_size=4), regime, [4], test_samples=6, suite=frozen).test_dataloader()
        with pytest.raises(UserError, match="suite trees"):
            TranscriptData(IsTree(max_size=4), regime, [4], test_samples=5, suite=frozen).test_dataloader()


def test_what_is_frozen_is_kept_unless_it_is_asked_for_again(freeze, file):
    freeze(file)
    frozen = file.read_text()
    file.write_text(frozen.replace("sha256:", "sha256: # by hand"))
    assert "is frozen already" in freeze(file) and "by hand" in file.read_text()
    freeze(file, "--again")
    assert file.read_text() == frozen


def test_a_suite_that_we_keep_is_frozen_the_same_again():
    path = SUITES / "index.yaml"
    ours, kept = yaml.safe_load(describe(path))["suite"], yaml.safe_load(path.read_text())["suite"]
    assert ours["sha256"] == kept["sha256"] and ours["name"] == kept["name"]


@pytest.mark.parametrize("ending", ["", "seed: 3\n", "# The end.\n"])
@pytest.mark.parametrize("frozen", ["", "suite: {name: old}\n", "suite:\n  name: old\n"])
def test_what_stands_around_a_suite_is_kept(freeze, file, frozen, ending):
    file.write_text((CONFIGURATION + frozen + ending).rstrip("\n"))
    freeze(file, "--again")
    content = yaml.safe_load(file.read_text())
    assert file.read_text().startswith(CONFIGURATION + ending) and content["suite"]["name"] == "trees"
    assert content.get("seed") == (3 if "seed" in ending else None) and content["test_samples"] == 6
