"""A user's mixer, in a file in the working directory, named in YAML and trained by the command line."""

import subprocess
import sys
from pathlib import Path

QUICKSTART = Path(__file__).parents[1] / "configs/experiments/quickstart.yaml"
OWN_FILE = """
import torch
from torch import Tensor, nn


class RunningMean(nn.Module):
    def __init__(self, hidden_size: int, layer_idx: int, keep: float = 0.9) -> None:
        super().__init__()
        self.keep = keep
        self.proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        state = torch.zeros_like(x[:, 0]) if state is None else state
        outputs = []
        for step in self.proj(x).unbind(1):
            state = self.keep * state + step
            outputs.append(state)
        return torch.stack(outputs, 1), state

    def state_size(self, length: int) -> int:
        return self.proj.out_features
"""
OWN_YAML = """
model:
  hidden_size: 16
  stages:
    - repeat: 2
      mixers:
        - class_path: running_mean.RunningMean
          init_args:
            keep: 0.5
"""


def test_a_mixer_in_the_working_directory_trains(tmp_path):
    (tmp_path / "running_mean.py").write_text(OWN_FILE)
    (tmp_path / "own.yaml").write_text(OWN_YAML)
    command = [
        sys.executable, "-m", "lit_retrieval", "fit", "--config", str(QUICKSTART), "--config", "own.yaml",
        "--trainer.max_steps", "3", "--trainer.val_check_interval", "3", "--trainer.accelerator", "cpu",
        "--data.batch_size", "4", "--data.val_samples", "4", "--trainer.enable_progress_bar", "false",
    ]  # fmt: skip
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "validation after 3 steps" in ran.stdout
    saved = (tmp_path / "runs/own/version_0/config.yaml").read_text()
    assert "running_mean.RunningMean" in saved and "keep: 0.5" in saved
