"""A value of a wrong kind in any key of a file that a tool reads is one line, and no traceback."""

import pytest
import yaml
from comparisons.cells import Point, grid
from comparisons.layers import Layer
from comparisons.protocol import read_protocol
from comparisons.settings import Setting
from freeze import freeze
from sweeps.grid import read_grid, trials
from tiny_sweep import ROOT

from lit_retrieval.circuits import Circuit, read_circuit
from lit_retrieval.errors import UserError
from lit_retrieval.machines import TuringMachine, read_table

SUITE = {
    "task": {"class_path": "lit_retrieval.tasks.IsTree", "init_args": {"max_size": 4}}, "regime": "vanilla",
    "sizes": [4], "val_samples": 4, "test_samples": 12, "seed": 0,
}  # fmt: skip
PROTOCOL = {
    "version": 1,
    "shape": dict.fromkeys(["hidden_size", "conv_kernel", "repeat", "parameters", "state_bits", "length"], 8),
    "suites": {"tree": {"data": "suite.yaml"}}, "learning_rates": [0.01], "seeds": [0], "minutes": 5, "gpus": 0.5,
    "reference": "attention", "fixed": {"data.batch_size": 2, "trainer.callbacks+": []},
    "frontier": {"state_bits": [8], "suites": ["tree"], "repairs": {"tree": "tree"}},
}  # fmt: skip
GRID = {
    "experiment": str(ROOT / "configs/experiments/quickstart.yaml"), "fixed": {"data.batch_size": 2},
    "points": {"a": {"model.hidden_size": 8}},
    "tasks": {"easy": {"keys": {"data.sizes": [4]}, "changes": [{"data.sizes": [3]}]}}, "regimes": {"cot": {}},
    "grid": {"data.regime": ["cot"]}, "tested": {"data.test_samples": 3}, "tests": {"": {}}, "seeds": [0],
    "checkpoint": "best", "cpus": 1, "gpus": {"any": 0.5}, "retries": 2, "stop_on_plateau": 3, "slurm": {},
    "warm": False,
}  # fmt: skip
MACHINE = {"A": {0: "1RB", 1: "1LHALT"}, "B": {0: "1LA", 1: "0RYES"}}
CIRCUIT = {
    "reads": ["x0", "x1"], "writes": [], "answers": ["YES"], "gates": {"a": "input number 0"}, "says": {"YES": "a"},
}  # fmt: skip


def trials_of_protocol(path):
    """The trials of a layer, as a comparison has them before it trains anything."""
    protocol = read_protocol(path)
    assert [protocol.suite(name) for name in protocol.suites]
    point = Point(8, Setting({}, 8, 8, 8, 0, True), list(protocol.suites))
    return trials(grid(Layer("lstm", "lit_retrieval.mixers.LSTM"), point, protocol), path.parent)


READERS = {
    "protocol": (PROTOCOL, trials_of_protocol),
    "grid": (GRID, lambda path: trials(read_grid(path), path.parent)),
    "machine": (MACHINE, lambda path: TuringMachine(read_table(str(path)))),
    "circuit": (CIRCUIT, lambda path: Circuit.from_table(read_circuit(str(path)))),
}
WRONG = {
    "a list": [[]], "text": "wrong", "null": None, "a negative number": -3, "a dict": {"a": {"b": []}}, "true": True,
}  # fmt: skip
# Values of these kinds are valid there.
VALID = {
    ("grid", "slurm", "a dict"), ("grid", "warm", "true"), ("protocol", "reference", "text"),
    *(("circuit", words, kind) for words in ("reads 0", "reads 1", "answers 0") for kind in ("text", "true")),
}  # fmt: skip


def keys(value, path=()):
    """The paths to all values within a value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in pairs:
        yield (*path, name)
        yield from keys(child, (*path, name))


def changed(value, path, wrong):
    if not path:
        return wrong
    parts = dict(value) if isinstance(value, dict) else list(value)
    parts[path[0]] = changed(parts[path[0]], path[1:], wrong)
    return parts


CASES = [
    (kind, path, wrong)
    for kind, (content, _) in READERS.items()
    for path in [(), *keys(content)]
    for wrong in WRONG
    if (kind, " ".join(map(str, path)), wrong) not in VALID
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a frozen test set."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "suite.yaml").write_text(yaml.safe_dump(SUITE))
    freeze(folder / "suite.yaml", again=True)
    return folder


@pytest.fixture
def file(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder / "file.yaml"


@pytest.mark.parametrize("kind", READERS)
def test_the_files_are_right_before_they_are_changed(kind, file):
    content, read = READERS[kind]
    file.write_text(yaml.safe_dump(content))
    assert read(file)


@pytest.mark.parametrize(("kind", "path", "wrong"), CASES)
def test_a_wrong_kind_is_one_line(kind, path, wrong, file, capsys):
    content, read = READERS[kind]
    file.write_text(yaml.safe_dump(changed(content, path, WRONG[wrong])))
    try:
        read(file)
    except (UserError, SystemExit) as stopped:
        said = capsys.readouterr().err.strip() or str(stopped)
        assert said and "\n" not in said
        assert not isinstance(stopped, SystemExit) or stopped.code == 2
    else:
        assert any("." in str(key) for key in path), "but for keys of a training, which says it when it begins"
