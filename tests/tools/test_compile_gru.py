"""tools/compile_gru.py: from a run to a file with a circuit."""

from itertools import product
from pathlib import Path

import pytest
from compile_gru import compile_run

import lit_retrieval
from lit_retrieval.circuits import Circuit, read_circuit
from lit_retrieval.cli import main
from lit_retrieval.errors import UserError


def train(mixer):
    """The folder of a run of a few steps."""
    main(["fit", "--data.task", "lit_retrieval.tasks.StateTracking", "--data.task.automaton", "parity",
          "--data.task.supervision", "final", "--data.regime", "vanilla", "--data.sizes", "1..4", "--data.batch_size",
          "8", "--data.val_samples", "4", "--model.hidden_size", "4", "--model.embedding", "learned", "--model.stages",
          f"[{{mixers: [{{class_path: lit_retrieval.mixers.{mixer}, init_args: {{state_dim: 1}}}}]}}]",
          "--model.learning_rate", "0.1", "--trainer.max_steps", "8", "--trainer.val_check_interval", "8",
          "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"])  # fmt: skip
    (run,) = (path.parent for path in Path("runs").glob("*/config.yaml"))
    return run


def test_the_circuit_of_a_run_answers_as_the_run_does(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = train("GRU")
    compile_run(run, Path("gru.yaml"), state_bits=5, weight_scale=64)
    circuit, model = Circuit.from_table(read_circuit("gru.yaml")), lit_retrieval.load(run)
    assert f"{len(circuit.gates)} gates in gru.yaml" in capsys.readouterr().out
    assert (circuit.reads, circuit.answers) == (["x0", "x1"], ["=0", "=1"])
    prompts = [["<s>", *problem, "?"] for problem in product(["x0", "x1"], repeat=3)]
    said = [list(circuit.run(prompt, 1))[-1][1] for prompt in prompts]
    assert [model.generate(" ".join(prompt))[0].answers for prompt in prompts] == [[answer] for answer in said]


def test_a_run_of_another_model_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = train("LSTM")
    with pytest.raises(UserError, match=r"must have one layer, a lit_retrieval\.mixers\.GRU; train such a one"):
        compile_run(run, Path("gru.yaml"))
    assert not Path("gru.yaml").exists()
