"""The smallest run there is, as a process of its own: what may be killed, and what it leaves."""

import os
import subprocess
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import STORE_EVERYTHING_SIZE_GUIDANCE, EventAccumulator
from warm import WarmProcess, WarmServer

ROOT = Path(__file__).parents[2]
# A mixer that draws random numbers in every step, as dropout does.
NOISE = """
import torch
from torch import nn

class Noise(nn.Module):
    def __init__(self, hidden_size: int, layer_idx: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(hidden_size))

    def forward(self, x, state=None):
        return nn.functional.dropout(x * self.scale, 0.2, self.training), None

    def state_size(self, length: int) -> int:
        return 0

class Broken(Noise):
    def forward(self, x, state=None):
        self.calls = getattr(self, "calls", 0) + (self.training and torch.is_grad_enabled())
        return x * self.scale * (float("nan") if self.calls > 25 else 1.0), None
"""
MAMBA = "{class_path: lit_retrieval.mixers.Mamba, init_args: {state_dim: 2}}"
STAGES = f"[{{mixers: [{MAMBA}, {{class_path: noise.Noise}}]}}]"
TINY = [
    "--config", str(ROOT / "configs/experiments/quickstart.yaml"), "--model.hidden_size", "8",
    "--model.stages", STAGES, "--data.task.init_args.max_size", "4", "--data.sizes", "[4]", "--data.regime", "cot",
    "--data.batch_size", "4", "--data.val_samples", "5", "--data.eval_batch_size", "4", "--data.test_samples", "5",
    "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.log_every_n_steps", "1",
]  # fmt: skip
TIMED = {"train/samples_per_second", "train/tokens_per_second", "train/memory_gb"}


class Place:
    """A folder to run commands in, as children of a warm process where no launcher is given."""

    def __init__(self, warm: WarmServer, path: Path) -> None:
        self.warm, self.path = warm, path
        (path / "noise.py").write_text(NOISE)
        threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        self.environment = {**os.environ, **threads, "PYTHONPATH": f"{path}:{ROOT}"}

    def start(self, *arguments: str, launcher: Sequence[str] | None = None) -> WarmProcess | subprocess.Popen[str]:
        """Start a command in a process group of its own."""
        if launcher is None:
            return self.warm.start("lit_retrieval", arguments, self.path, self.environment)
        return subprocess.Popen(
            [*launcher, "-m", "lit_retrieval", *arguments], cwd=self.path, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def run(self, command: str, *arguments: str, status: int = 0, limit: float = 300, **options: Any) -> str:
        """Run a command on the tiny model to its end, in so many seconds at most; returns what it printed."""
        process = self.start(command, *TINY, *arguments, **options)
        try:
            out, err = process.communicate(timeout=limit)
        finally:
            process.kill()
        assert process.returncode == status, err[-3000:]
        return out + err

    def fit(self, *arguments: str, **options: Any) -> str:
        return self.run("fit", *arguments, "--run_dir", "run", **options)

    def steps(self) -> list[int]:
        """The steps of the checkpoints, newest first."""
        return sorted((int(path.stem.split("_")[1]) for path in self.folder().glob("step_*.ckpt")), reverse=True)

    def folder(self) -> Path:
        return self.path / "run/checkpoints"

    def checkpoint(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = torch.load(self.folder() / f"{name}.ckpt", weights_only=True)
        return content

    def scalars(self, timed: bool = False) -> dict[str, list[tuple[int, float]]]:
        """Every scalar, those that measure time if asked: `{tag: [(step, value), ...]}`."""
        events = EventAccumulator(str(self.path / "run"), STORE_EVERYTHING_SIZE_GUIDANCE).Reload()
        found: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for tag in set(events.Tags()["scalars"]) - (set() if timed else TIMED):
            found[tag] = [(event.step, event.value) for event in events.Scalars(tag)]
        return found


@pytest.fixture
def place(make_place: Callable[[Path], Place], tmp_path: Path) -> Place:
    return make_place(tmp_path)


@pytest.fixture(scope="session")
def make_place(warm: WarmServer) -> Callable[[Path], Place]:
    return partial(Place, warm)


@pytest.fixture
def twin(make_place: Callable[[Path], Place], tmp_path: Path) -> Place:
    """Another folder, for the run that nothing happens to."""
    (tmp_path / "twin").mkdir()
    return make_place(tmp_path / "twin")


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    return TINY


def assert_same_state(one: Any, other: Any) -> None:
    """Equal to the last bit, whatever is nested in what."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same_state(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            assert_same_state(first, second)
    else:
        assert one == other


@pytest.fixture
def assert_same_run() -> Callable[[Place, Place, int], None]:
    def compare(one: Place, other: Place, step: int) -> None:
        """Final and best weights, optimizer, schedule, and every scalar that does not measure time."""
        for name in (f"step_{step}", "best"):
            for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
                assert_same_state(one.checkpoint(name)[key], other.checkpoint(name)[key])
        first, second = one.scalars(), other.scalars()
        assert first.keys() == second.keys()
        for tag, values in first.items():
            assert values == second[tag], tag
            steps = [step for step, _ in second[tag]]
            assert tag == "epoch" or len(set(steps)) == len(steps), f"{tag} has a step twice"

    return compare
