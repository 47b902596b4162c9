"""The random seed of each training step, for dropout."""

import os
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_retrieval.lightning_internals import batches_trained
from lit_retrieval.tasks.random import derive_seed


class StepSeed(Callback):
    """Seeds each training batch from the run's random seed, the batch's number and the rank.

    A resumed run therefore draws the same random numbers, and checkpoints need no generator states.
    """

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed the generators of all devices."""
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))  # set by Lightning's `seed_everything`
        torch.manual_seed(derive_seed(seed, f"batch {batches_trained(trainer)} of rank {trainer.global_rank}") >> 1)
