"""Training speed and memory."""

import resource
import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lit_retrieval.data import Batch


class Throughput(Callback):
    """Logs `train/samples_per_second`, `train/tokens_per_second` and `train/memory_gb`.

    Speed is over all ranks, without padding and without the time of validation. Memory is the highest peak of any rank,
    on the GPU if there is one.

    Args:
        every_n_steps: Optimizer steps between two logs.
    """

    def __init__(self, every_n_steps: int = 10) -> None:
        self.every_n_steps = every_n_steps
        self._since: float | None = None
        self._samples = 0
        self._tokens: Tensor | int = 0  # stays on the device between two logs

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Count the batch, and log every `every_n_steps` steps."""
        if self._since is not None:
            self._samples += len(batch.tokens)
            self._tokens += batch.length.sum()
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        if self._since is None:
            self._restart()
        elif trainer.global_step % self.every_n_steps == 0:
            tokens = int(self._tokens)
            rate = 1 / (time.perf_counter() - self._since)
            pl_module.log("train/samples_per_second", self._samples * rate * trainer.world_size)  # all have as many
            pl_module.log("train/tokens_per_second", tokens * rate, sync_dist=True, reduce_fx="sum")
            pl_module.log("train/memory_gb", most_memory(pl_module.device) / 1e9, sync_dist=True, reduce_fx="max")
            self._restart()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock until the next training step."""
        self._since, self._samples, self._tokens = None, 0, 0

    def _restart(self) -> None:
        self._since, self._samples, self._tokens = time.perf_counter(), 0, 0


def most_memory(device: torch.device) -> int:
    """Peak memory of this process in bytes, on the GPU if `device` is one."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # kilobytes, except on macOS: getrusage(2)
