"""FSDP over two ranks: what a callback does with the model on one rank alone."""

import json

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

# On CPUs with gloo, which Lightning refuses for its own class. Its two overrides stand for code that needs a GPU:
# torch frees the storage of a full state dict on a CPU. Our Numba kernels read a weight's memory, which FSDP then can't
# free, so the model has none: norm none, attention, and a mixer that runs to know its state, as fla's layers do.
SHARDS = """
import torch
from lightning.pytorch import Callback
from lightning.pytorch.strategies import FSDPStrategy
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

class Shards(FSDPStrategy):
    def _setup_model(self, model):
        return FullyShardedDataParallel(model, device_id=torch.device("cpu"), **self.kwargs)

    def lightning_module_state_dict(self):
        with FullyShardedDataParallel.summon_full_params(self.model, writeback=False):
            return {name: value.clone() for name, value in self.model.module.state_dict().items()}

    def optimizer_state(self, optimizer):
        return {}

class Decayed(Callback):
    def on_train_start(self, trainer, module):
        decayed, others = (group["params"] for group in trainer.optimizers[0].param_groups)
        assert decayed and all(one.ndim == 1 for one in decayed), "shards of matrices"
        names = {id(one): name for name, one in module.named_parameters()}
        print("decayed:", *(names[id(one)].split(".")[-2:] for one in decayed))

class Measured(nn.Module):
    def __init__(self, hidden_size: int, layer_idx: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, hidden_size)

    def forward(self, x, state=None):
        return self.linear(x), x[:, -1:]

    def state_size(self, length: int) -> int:
        return self(self.linear.weight.new_zeros(1, length, self.linear.in_features))[1].numel()
"""
ATTENTION = "{class_path: lit_retrieval.mixers.Attention, init_args: {num_heads: 2}}"
SHARDED = [
    "--model.stages", f"[{{repeat: 1, mixers: [{{class_path: shards.Measured}}, {ATTENTION}]}}]",
    "--model.norm", "none", "--model.weight_decay", "0.1", "--trainer.callbacks+", "shards.Decayed",
    "--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--trainer.gradient_clip_val", "null",
    "--trainer.strategy", "{class_path: shards.Shards, init_args: {state_dict_type: full}}", "--trainer.devices", "2",
]  # fmt: skip


@pytest.fixture
def sharded(place):
    (place.path / "shards.py").write_text(SHARDS)
    place.said = place.fit(*SHARDED)
    return place


def test_the_first_rank_draws_and_measures_a_model_that_is_spread_over_two(sharded):
    run = sharded.path / "run"
    images = EventAccumulator(str(run)).Reload().Tags()["images"]
    assert "val/accuracy" in images and any("attention" in name for name in images)
    logged = yaml.unsafe_load((run / "hparams.yaml").read_text())
    assert "decayed: " in sharded.said
    assert logged["state_numbers"] == 8 + 2 * 8 * logged["state_length"]


@pytest.mark.slow
def test_a_test_reports_the_whole_model(sharded):
    assert "memory after" in sharded.run("test", *SHARDED, "--run_dir", "run", "--ckpt_path", "last")
    scores = json.loads((sharded.path / "run/scores.json").read_text())
    weights = sharded.checkpoint("step_2")["state_dict"]
    assert scores["parameters"] == sum(one.numel() for name, one in weights.items() if "embedding" not in name)
