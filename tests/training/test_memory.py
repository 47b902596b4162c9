"""The size of the state as it is logged and printed, and the ceiling that it sets."""

import json
import math
from pathlib import Path

import pytest
import yaml

from lit_retrieval.cli import main
from lit_retrieval.tasks import AssociativeRecall, Counting, Index
from lit_retrieval.training.memory import ceiling

QUICKSTART = str(Path(__file__).parents[2] / "configs/experiments/quickstart.yaml")
LINEAR_RNN = "{repeat: 1, mixers: [{class_path: lit_retrieval.mixers.LinearRNN}]}"
ATTENTION = "{repeat: 1, mixers: [{class_path: lit_retrieval.mixers.Attention, init_args: {num_heads: 1}}]}"


def index(stages: str, *arguments: str) -> list[str]:
    """The arguments of a run on Index with 600 random bits: a prompt of 603 words and one word of reply."""
    task = "{class_path: lit_retrieval.tasks.Index, init_args: {max_size: 600, distribution: random_access_code}}"
    return [
        "--config", QUICKSTART, "--data.task", task, "--data.sizes", "[600]", "--data.regime", "vanilla",
        "--model.hidden_size", "2", "--model.stages", stages, "--data.batch_size", "2", "--data.val_samples", "2",
        "--data.test_samples", "2", "--trainer.accelerator", "cpu", "--trainer.max_steps", "1",
        "--trainer.val_check_interval", "1", "--trainer.enable_progress_bar", "false", *arguments,
    ]  # fmt: skip


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lit_retrieval"])  # LightningCLI warns where both this and args are given


def test_no_memory_is_a_guess_and_enough_is_no_limit():
    assert ceiling(0, 64) == pytest.approx(0.5)
    assert ceiling(64, 64) == ceiling(10**9, 64) == 1.0


@pytest.mark.parametrize("p", [0.5001, 0.6, 0.75, 0.9, 0.999])
def test_the_ceiling_solves_its_equation(p):
    n = 10**9
    entropy = -p * math.log2(p) - (1 - p) * math.log2(1 - p)
    assert ceiling(round((1 - entropy) * n), n) == pytest.approx(p, abs=1e-6)


def test_an_eleventh_of_the_bits_leaves_two_thirds():
    """Known by hand: H(2/3) = log2(3) - 2/3 = 0.918296."""
    assert ceiling(81_704, 1_000_000) == pytest.approx(2 / 3, abs=1e-6)


@pytest.mark.parametrize(("task_class", "size", "bits"), [(Index, 8, 8), (AssociativeRecall, 8, 4), (Counting, 8, 8)])
def test_a_random_access_code_has_a_bit_for_each_place_or_pair(task_class, size, bits):
    assert task_class(distribution="random_access_code").random_bits(size) == bits
    assert task_class().random_bits(size) is None


@pytest.mark.parametrize(("precision", "bits"), [("32-true", 32), ("bf16-mixed", 16)])
def test_the_state_is_logged_as_a_hyperparameter(precision, bits):
    main(["fit", *index(f"[{LINEAR_RNN}, {ATTENTION}]"), "--trainer.precision", precision])
    logged = yaml.unsafe_load(next(Path("runs").rglob("hparams.yaml")).read_text())
    # Two numbers of the RNN, and a key and a value of two numbers for each word.
    assert logged["state_length"] == 604
    assert logged["state_numbers"] == 2 + 2 * 2 * 604
    assert logged["state_bits"] == 32 * 2 + bits * 2 * 2 * 604  # the RNN's state is float32 in any precision


def test_a_test_prints_memory_and_ceiling(capsys):
    main(["test", *index(f"[{LINEAR_RNN}]")])
    said = " ".join(capsys.readouterr().out.split())
    assert "memory after 604 tokens: 2 state elements, 64 bits (LinearRNN 2)" in said
    assert f"on the 600 random bits of size 600: {ceiling(64, 600):.4f}" in said
    assert 0.5 < ceiling(64, 600) < 0.7


def test_each_size_has_the_state_and_the_ceiling_of_its_own_length(capsys):
    """A window of 100 words keeps a key and a value, two numbers each, of 99 words, or of all 44 that there are."""
    options = "class_path: lit_retrieval.mixers.SlidingWindowAttention, init_args: {num_heads: 1, window: 100}"
    main(["test", *index(f"[{{mixers: [{{{options}}}]}}]", "--data.eval_sizes", "[40, 600]", "--run_dir", "run")])
    said = " ".join(capsys.readouterr().out.split())
    bits = {40: 32 * 4 * 44, 600: 32 * 4 * 99}
    for size, own in bits.items():
        assert f"on the {size} random bits of size {size}: {ceiling(own, size):.4f}" in said
    content = json.loads(Path("run/scores.json").read_text())
    assert content["state_bits_of_sizes"] == {str(size): own for size, own in bits.items()}
    assert content["state_bits"] == 32 * 4 * 99 and content["longest"] == 604
    assert sum(content["samples"].values()) == 2


def test_searches_have_no_ceiling(capsys):
    main(["test", *index(f"[{LINEAR_RNN}]", "--data.regime", "retrieval")])
    said = capsys.readouterr().out
    assert "memory after" in said and "ceiling" not in said
