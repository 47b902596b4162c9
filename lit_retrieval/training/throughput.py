"""How fast training goes."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_retrieval.data import Batch


class Throughput(Callback):
    """Logs `train/samples_per_second` and `train/tokens_per_second` over all ranks, without the time of validation.

    Args:
        every_n_steps: How often.
    """

    def __init__(self, every_n_steps: int = 10) -> None:
        self.every_n_steps = every_n_steps
        self._since: float | None = None
        self._samples = 0
        self._tokens = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Count the batch, and log once in `every_n_steps` steps."""
        if self._since is None:
            self._since = time.perf_counter()
            return
        self._samples += len(batch.tokens)
        self._tokens += batch.tokens.numel()
        if trainer.global_step % self.every_n_steps == 0:
            rate = trainer.world_size / (time.perf_counter() - self._since)
            pl_module.log("train/samples_per_second", self._samples * rate, prog_bar=True)
            pl_module.log("train/tokens_per_second", self._tokens * rate)
            self._restart()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock until the next training step."""
        self._since, self._samples, self._tokens = None, 0, 0

    def _restart(self) -> None:
        self._since, self._samples, self._tokens = time.perf_counter(), 0, 0
