"""tools/benchmark.py: what it compares is equal, what it divides is right, and each subcommand fills its table."""

import importlib

import pytest
import torch
import yaml
from benchmark import main
from benchmarks.models import MODEL_FILES, build_model

from lit_retrieval.tasks import Index, IsTree

data, ops, replay, train = (
    importlib.import_module(f"benchmarks.{name}") for name in ("data", "ops", "replay", "train")
)
IN_A_LOOP = ["deltanet", "gated_deltanet", "gla", "hgrn2", "kda", "linear_attention", "linear_rnn", "mamba2", "retnet",
             "rwkv7", "simple_gla"]  # fmt: skip


@pytest.fixture
def rows(monkeypatch, capsys):
    """Runs a subcommand; returns the rows of its table."""
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["tools/benchmark.py", *arguments])
        main()
        lines = capsys.readouterr().out.splitlines()
        return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]

    return run


def test_parameters_are_those_of_the_models(rows):
    names = ["mamba_0.5M", "transformer_0.5M"]
    models = [build_model(MODEL_FILES / f"{name}.yaml", 7) for name in names]
    assert rows("parameters", *(str(MODEL_FILES / f"{name}.yaml") for name in names)) == [
        [name, f"{model.num_parameters:,}", f"{model.state_size(128):,}", f"{model.state_bits(128):,}"]
        for name, model in zip(names, models, strict=True)
    ]


@pytest.mark.parametrize(("name", "case"), ops._cases(2, 5, 4, "cpu").items(), ids=lambda value: str(value)[:20])
def test_a_recurrence_is_compared_with_what_computes_the_same(name, case):
    outputs = [way(**case.tensors)[0] for way in (case.ours, case.naive, case.chunked) if way is not None]
    for other in outputs[1:]:
        torch.testing.assert_close(outputs[0], other, rtol=1e-4, atol=1e-5)  # float32, sums of some terms


def test_every_recurrence_is_timed(rows):
    found = rows("ops", "--batch", "1", "--time", "3", "--dim", "4", "--rounds", "1")
    assert [row[0] for row in found] == list(ops._cases(1, 1, 4, "cpu"))
    assert [bool(row[2]) for row in found] == [True] * 5 + [False] * 3


def test_ratios_of_recurrences_are_those_of_their_times(rows, monkeypatch):
    monkeypatch.setattr(ops, "_time_in_turns", lambda case, rounds: (2.0, 3.0, 5.0, 0.5))
    assert {tuple(row[1:]) for row in rows("ops", "--time", "1", "--dim", "1")} == {
        ("2.0", "3.0", "5.0", "2.5", "25.0%")
    }


@pytest.mark.parametrize("name", IN_A_LOOP)
def test_a_model_in_a_loop_computes_the_same(name):
    model, tokens = build_model(MODEL_FILES / f"{name}_0.5M.yaml", 8), torch.arange(8).view(2, 4)
    other_name, other = train._other_side(name, model, "cpu")
    assert other_name == "one step at a time"
    torch.testing.assert_close(other(tokens), model(tokens)[0], rtol=1e-3, atol=1e-4)  # float32 through all layers


def test_training_steps_are_timed(rows):
    one = ["--batch", "1", "--time", "2", "--vocab_size", "4", "--rounds", "1"]
    (row,) = rows("train", "--models", "[linear_rnn]", *one)
    assert row[0] == "linear_rnn" and row[3] == "one step at a time" and all(row)
    (row,) = rows("train", "--models", "[linear_rnn]", *one, "--alternatives", "false")
    assert all(row[:3]) and not any(row[3:])


def test_ratios_of_training_steps_are_those_of_their_times(rows, monkeypatch):
    monkeypatch.setattr(train, "_time_in_turns", lambda modules, *_: [10.0, 20.0, 30.0][: len(modules)])
    assert rows("train", "--models", "[gla, gru]") == [
        ["gla", "10", "0.50", "one step at a time", "30", "3.00", "10.0", "2.00"],
        ["gru", "10", "0.50", "", "", "", "", ""],
    ]


def test_samples_of_every_suite_and_regime_are_timed(rows):
    found = rows("data", "--batch", "2", "--rounds", "1", "--seconds", "0.0001", "--steps", "false")
    tasks = data.tasks()
    assert [tuple(row[:2]) for row in found] == [
        (name, regime) for name, task in tasks.items() for regime in task.regimes
    ]
    for name, _, *speeds, share in found:
        assert share == "-" and len(speeds) == len(data._LENGTHS) and set(speeds) != {"-"}, name
    files = [yaml.safe_load(file.read_text())["task"] for file in data._SUITES.glob("*.yaml")]
    assert len(tasks) == len({str(task) for task in files}), "each task once"


def test_a_size_is_that_of_the_nearest_length():
    assert data._sizes(Index(max_size=100)) == {16: 13, 64: 61}, "<s>, the words, ? and a position"
    assert data._sizes(IsTree(max_size=128)) == {16: 6, 64: 22, 256: 86}, "<s>, three words an edge, ?"


def test_a_step_is_timed_without_the_first(monkeypatch):
    clock = iter([0.0, 9.0, 10.0, 12.0])
    monkeypatch.setattr(data, "perf_counter", lambda: next(clock))
    assert data._seconds_of_a_step(data._stream(IsTree(max_size=8), "vanilla", 4), 2, 1) == 2.0


@pytest.mark.parametrize("regime", ["vanilla", "cot", pytest.param("retrieval", marks=pytest.mark.slow)])
def test_both_ways_to_decode_write_the_right_answers(rows, regime):
    found = rows("decode", "--regime", regime, "--size", "4", "--batch", "3", "--rounds", "1")
    assert [row[0] for row in found] == ["cached", "prefix read again"] and found[1][3] == "1.0"


def test_a_model_that_replays_writes_the_right_answers():
    for name in ("none", "mamba_tiny"):
        problem = replay.Problem(name, "retrieval", 4, 3)
        assert problem.decode() > 0 and problem.num_words > 60


@pytest.mark.slow  # two processes import torch
def test_two_commits_are_timed_in_turns(rows):
    root = str(MODEL_FILES.parents[1])
    (row,) = rows(
        "commits", "--checkout", root, "--models", "[none]", "--sizes", "[4]", "--batch", "2", "--rounds", "1"
    )
    assert row[:2] == ["none", "4"] and all(row)
