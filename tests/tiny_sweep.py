"""A sweep of a tiny model, for the tests of tools/sweep.py."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
MAMBA = {"class_path": "lit_retrieval.mixers.Mamba", "init_args": {"state_dim": 2}}
TINY = {
    "model.hidden_size": 8, "model.stages": [{"mixers": [MAMBA]}], "data.task.init_args.max_size": 4,
    "data.sizes": [4], "data.batch_size": 4, "data.val_samples": 5, "data.test_samples": 10,
    "trainer.max_steps": 4, "trainer.val_check_interval": 2, "trainer.accelerator": "cpu",
    "trainer.log_every_n_steps": 1,
}  # fmt: skip


def write_grid(place, **parts):
    grid = {"experiment": str(ROOT / "configs/experiments/quickstart.yaml"), "fixed": TINY, **parts}
    path = place / "tiny.yaml"
    path.write_text(yaml.safe_dump(grid))
    return path


def results(place, sweep="sweeps/tiny"):
    return sorted((place / sweep).glob("trials/*/result.json"))
