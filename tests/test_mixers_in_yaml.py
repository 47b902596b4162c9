"""What a user may write for a mixer: a class in the working directory, attention on top, an fla that is not there."""

from pathlib import Path

import pytest

from lit_retrieval.cli import main

ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "configs/experiments/quickstart.yaml"
WITHOUT_FLA = """
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "fla":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Blocker())
from lit_retrieval.cli import main
main(sys.argv[1:])
"""
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


def test_a_mixer_in_the_working_directory_trains(tmp_path, warm):
    (tmp_path / "running_mean.py").write_text(OWN_FILE)
    (tmp_path / "own.yaml").write_text(OWN_YAML)
    command = [
        "fit", "--config", str(QUICKSTART), "--config", "own.yaml",
        "--trainer.max_steps", "3", "--trainer.val_check_interval", "3", "--trainer.accelerator", "cpu",
        "--data.batch_size", "4", "--data.val_samples", "4", "--trainer.enable_progress_bar", "false",
    ]  # fmt: skip
    ran = warm.start("lit_retrieval", command, tmp_path)
    out, err = ran.communicate(timeout=300)
    assert ran.returncode == 0, err[-2000:]
    assert "validation after 3 steps" in out
    saved = next(tmp_path.rglob("runs/own-*/config.yaml")).read_text()
    assert "running_mean.RunningMean" in saved and "keep: 0.5" in saved


def test_one_line_puts_attention_on_top(capsys):
    (readme_line,) = [line for line in (ROOT / "README.md").read_text().splitlines() if "--model.stages+" in line]
    top = readme_line.split("'")[1]
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", str(QUICKSTART), "--model.stages+", top, "--print_config"])
    assert stopped.value.code == 0
    stages = capsys.readouterr().out.split("stages:")[1].split("embedding:")[0]
    assert stages.index("mixers.Mamba") < stages.index("mixers.Attention") < stages.index("mixers.SwiGLU")
    assert stages.count("repeat:") == 2


def test_a_missing_fla_is_one_line_that_says_what_to_install(tmp_path, warm):
    (tmp_path / "without_fla.py").write_text(WITHOUT_FLA)
    model = str(ROOT / "configs/model/gla_0.5M.yaml")
    ran = warm.start("without_fla", ["fit", "--config", str(QUICKSTART), "--model", model], tmp_path)
    _, err = ran.communicate(timeout=300)
    assert ran.returncode == 2
    (line,) = [line for line in err.splitlines() if line.startswith("error:")]
    assert "No module named 'fla'" in line and "pip install flash-linear-attention triton" in line
