"""Two processes on a CPU: the same global batches, no sample twice, metrics over both."""

import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
COMMAND = [
    sys.executable, "-m", "lit_retrieval", "fit", "--config", str(ROOT / "configs/experiments/quickstart.yaml"),
    "--data.regime", "vanilla", "--data.batch_size", "8", "--data.val_samples", "30", "--data.eval_batch_size", "8",
    "--trainer.accelerator", "cpu", "--trainer.max_steps", "4", "--trainer.val_check_interval", "4",
    "--trainer.enable_progress_bar", "false", "--run_dir", "run",
]  # fmt: skip


def fit(folder, *arguments):
    folder.mkdir()
    run = subprocess.run([*COMMAND, *arguments], cwd=folder, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-2000:]
    return torch.load(folder / "run/checkpoints/step_4.ckpt"), run.stdout


def test_two_ranks_learn_what_one_learns(tmp_path):
    """In the vanilla regime every sample has one word to learn, so the mean of two ranks' losses is the global mean."""
    alone, shown_alone = fit(tmp_path / "alone")
    together, shown_together = fit(tmp_path / "together", "--trainer.strategy", "ddp", "--trainer.devices", "2")
    assert alone["TranscriptData"] == together["TranscriptData"] == {"first_batch": 4}
    for name, weights in alone["state_dict"].items():
        # AdamW divides by the gradient's size, which turns rounding in the smallest gradients into steps of up to the
        # learning rate (at most 4 * 2e-4 in this warm-up); the tolerance is a tenth of that.
        assert (weights - together["state_dict"][name]).abs().max() < 1e-4, name
    table = [shown.split("validation after")[1] for shown in (shown_alone, shown_together)]
    assert table[0] == table[1], "30 samples, in batches that two ranks share"
