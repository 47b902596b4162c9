"""The suites in data/evaluation: what was frozen once is what is written today."""

from pathlib import Path

import pytest
from catalogue import missing
from jsonargparse import ArgumentParser

from lit_retrieval.data import TranscriptData
from lit_retrieval.data.suite import check_suite

FILES = sorted((Path(__file__).parents[2] / "data" / "evaluation").rglob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_frozen_suite_has_not_moved(file):
    parser = ArgumentParser()
    parser.add_class_arguments(TranscriptData, "data")
    data = parser.instantiate(parser.parse_args(["--data", str(file)])).data
    assert data.suite.name == file.stem and set(data.suite.sha256) == set(data.task.regimes)
    for regime in data.task.regimes:
        data.regime = regime
        check_suite(data.suite, data.stream("test"), data.num_samples["test"])


def test_every_exported_task_has_a_suite():
    lines = [line for file in FILES for line in file.read_text().splitlines() if "class_path" in line]
    assert not missing(line.split(".")[-1] for line in lines)
