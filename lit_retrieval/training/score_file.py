"""The scores of a test as JSON."""

import json
import platform
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_retrieval.data import Batch
from lit_retrieval.files import write_atomically
from lit_retrieval.lightning_internals import whole_parameters
from lit_retrieval.training.sequence_module import SequenceModule

NAME = "scores.json"


class ScoreFile(Callback):
    """Writes `scores.json` into the run's folder when `test` ends.

    Keys: `scores` by their logged names, without `test/`; `samples`, the number of samples of each size; `longest`, the
    number of tokens in the longest row; `state_bits`, the size of the state at its end; and `state_bits_of_sizes`, the
    same for each size.
    """

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._longest: dict[int, int] = {}

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting."""
        self._counts, self._longest = Counter(), {}

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Count the samples of each size, and the tokens of the longest one."""
        sizes = batch.sizes.tolist()
        self._counts.update(sizes)
        for size, length in zip(sizes, batch.length.tolist(), strict=True):
            self._longest[size] = max(self._longest.get(size, 0), length)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file, with the counts over all ranks."""
        assert isinstance(pl_module, SequenceModule)
        sizes = pl_module.data.eval_values
        counts = torch.tensor([self._counts[size] for size in sizes], device=pl_module.device)
        longest = torch.tensor([self._longest.get(size, 0) for size in sizes], device=pl_module.device)
        if trainer.world_size > 1:
            counts = trainer.strategy.reduce(counts, reduce_op="sum")
            longest = trainer.strategy.reduce(longest, reduce_op="max")
        model, lengths = pl_module.model, dict(zip(map(str, sizes), longest.tolist(), strict=True))
        with whole_parameters(trainer), trainer.precision_plugin.forward_context():
            bits = {size: model.state_bits(length) for size, length in lengths.items() if length}
            parameters = model.num_parameters
        if trainer.is_global_zero:
            content = {
                "checkpoint": str(trainer.ckpt_path and Path(trainer.ckpt_path).name),
                "device": device_name(pl_module.device),
                "parameters": parameters,
                "longest": int(longest.max()),
                "state_bits": max(bits.values()),
                "state_bits_of_sizes": bits,
                "samples": dict(zip(map(str, sizes), counts.tolist(), strict=True)),
                "scores": {
                    name.removeprefix("test/"): float(value)
                    for name, value in trainer.callback_metrics.items()
                    if name.startswith("test/")
                },
            }
            path = Path(trainer.default_root_dir) / NAME
            path.parent.mkdir(parents=True, exist_ok=True)  # a test without a checkpoint may be the first command there
            with write_atomically(path) as file:
                file.write(json.dumps(content, indent=2) + "\n")


def device_name(device: torch.device) -> str:
    """The name of the device, such as `NVIDIA H200` or the processor's model."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
