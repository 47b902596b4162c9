"""Random numbers of a training step, dropout above all."""

import os
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_retrieval.lightning_internals import batches_trained
from lit_retrieval.tasks.random import derive_seed


class StepSeed(Callback):
    """Seeds each training batch from the run's seed, the batch's number and the rank.

    A checkpoint holds no state of random generators. This way it needs none: a run that goes on, on any number of
    ranks, draws in step k what it would have drawn.
    """

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed the generators of all devices."""
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))  # where Lightning keeps what `seed_everything` was given
        torch.manual_seed(derive_seed(seed, f"batch {batches_trained(trainer)} of rank {trainer.global_rank}") >> 1)
