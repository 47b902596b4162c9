"""TensorBoard in a browser: each tab shows something of a real run."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
MIXERS = (
    "[{mixers: [{class_path: lit_retrieval.mixers.Mamba, init_args: {state_dim: 2}}, lit_retrieval.mixers.Attention]}]"
)
RUN = [
    "fit", "--config", str(ROOT / "configs/experiments/quickstart.yaml"), "--model.hidden_size", "16",
    "--model.stages", MIXERS, "--data.task.init_args.max_size", "4", "--data.sizes", "[4]", "--data.val_samples", "20",
    "--trainer.accelerator", "cpu", "--trainer.max_steps", "20", "--trainer.val_check_interval", "10",
    "--trainer.enable_progress_bar", "false", "--run_dir", "runs/one",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), reason="no Chromium")
def test_each_tab_of_tensorboard_shows_something(tmp_path):
    subprocess.run([sys.executable, "-m", "lit_retrieval", *RUN], check=True, cwd=tmp_path, capture_output=True)
    command = [sys.executable, str(ROOT / "tools/screenshots.py"), "runs", "-o", "shots", "--port", "6123"]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    for tab in ("scalars", "images", "text", "hparams"):
        pixels = np.asarray(Image.open(tmp_path / f"shots/{tab}.png").convert("L"))
        inside = pixels[130:, 380:]  # below the bar at the top and right of the list of runs
        assert (inside < 140).mean() > 0.002, f"{tab} is empty"
