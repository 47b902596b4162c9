"""The protocols of configs/compare, and the layers that are known there."""

import pytest
from comparisons.cells import Point, grid
from comparisons.layers import read_known
from comparisons.protocol import FOLDER, read_protocol
from comparisons.settings import find_setting
from sweeps.grid import trials


@pytest.mark.parametrize("name", ["laptop", "lab", "full"])
def test_a_protocol_of_configs_is_valid_and_so_is_the_first_trial_of_each_suite(name, monkeypatch):
    monkeypatch.setattr("sys.argv", ["tools/compare.py"])
    protocol = read_protocol(FOLDER / f"{name}.yaml")
    layer = read_known()[protocol.reference]
    setting = find_setting(layer, protocol.shape, protocol.shape.state_bits)
    assert abs(setting.parameters / protocol.shape.parameters - 1) <= 0.05
    assert len(protocol.learning_rates) >= 3 and len(protocol.seeds) >= 2
    for suite in protocol.suites if name == "laptop" else list(protocol.suites)[:1]:
        found = protocol.suite(suite)
        assert found.sizes and len(found.sha256) == 64
    point = Point(protocol.shape.state_bits, setting, list(protocol.suites)[:1])
    (trial,) = trials(grid(layer, point, protocol, protocol.learning_rates[:1], [0]), protocol.folder)
    assert trial.tests == (("", ("--data.seed", "0")),) and trial.is_warm


def test_every_known_layer_has_a_class_and_its_own_name():
    for layer in read_known().values():
        assert layer.load().__name__ == layer.class_path.rpartition(".")[2]
