"""A task in a file outside the package, from the command line to its table of scores."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lit_retrieval.cli import main

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("data", ["configs/own_task/hops.yaml"])
def test_a_model_learns_from_it(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lit_retrieval"])
    main(["fit", "--config", str(ROOT / "configs/experiments/quickstart.yaml"), "--data", str(ROOT / data),
          "--data.val_samples", "32", "--data.batch_size", "32", "--model.warmup_samples", "320",
          "--trainer.max_steps", "60", "--trainer.val_check_interval", "60", "--trainer.accelerator", "cpu",
          "--trainer.enable_progress_bar", "false", "--trainer.log_every_n_steps", "1"])  # fmt: skip
    (events,) = tmp_path.rglob("events.*")
    losses = [scalar.value for scalar in EventAccumulator(str(events)).Reload().Scalars("train/loss")]
    assert len(losses) == 60 and losses[-1] < losses[0] / 3
    shown = capsys.readouterr().out
    assert "size 8" in shown and "size 16" in shown
