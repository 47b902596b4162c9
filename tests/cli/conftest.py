from pathlib import Path

import pytest

from lit_retrieval.cli import main

QUICKSTART = Path(__file__).parents[2] / "configs/experiments/quickstart.yaml"
MIXER = "{class_path: lit_retrieval.mixers.Mamba, init_args: {state_dim: 2}}"
TINY = [
    "--config", str(QUICKSTART), "--model.hidden_size", "4", "--model.stages", f"[{{mixers: [{MIXER}]}}]",
    "--data.task.init_args.max_size", "4", "--data.sizes", "[4]", "--data.regime", "cot", "--data.batch_size", "2",
    "--data.val_samples", "2", "--data.test_samples", "3", "--inspection.log_images_every", "0",
    "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.val_check_interval", "1",
]  # fmt: skip


@pytest.fixture
def tiny():
    """The arguments for the smallest model."""
    return TINY


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs a command on the smallest model, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lit_retrieval"])
    return lambda name, *arguments: main([name, *TINY, *arguments])


@pytest.fixture
def refuse(command, capsys):
    """Runs a fit that must end with a mistake, and returns its line."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            command("fit", *arguments)
        assert stopped.value.code == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
        return line

    return run
