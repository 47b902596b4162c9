"""A training run of a few steps in this process, for the tests of what happens in a step."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import nn
from torch.optim import Optimizer

from lit_retrieval.data import TranscriptData
from lit_retrieval.mixers import Mamba
from lit_retrieval.models import Stage
from lit_retrieval.tasks import StringCopying, Task
from lit_retrieval.training import LastCheckpoint, SequenceModule


class Recording(SequenceModule):
    """Keeps the gradient of the last step, as it is before clipping."""

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        self.gradient = torch.cat([one.grad.flatten() for one in self.parameters() if one.grad is not None])
        super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)


def fit(
    tmp_path: Path,
    task: Task | None = None,
    module: type[SequenceModule] = Recording,
    batch_size: int = 8,
    callbacks: Sequence[Callback] = (),
    steps: int = 2,
    mixer: Callable[..., nn.Module] = Mamba,
    ckpt_path: Path | None = None,
    **options: Any,
) -> tuple[Any, Trainer]:
    """Train a tiny model on transcripts of very different lengths."""
    task = task or StringCopying(max_size=16, vocab_size=5)
    torch.manual_seed(0)
    one = module(len(task.vocabulary), 8, [Stage([mixer])], warmup_samples=0, learning_rate=1e-3)
    data = TranscriptData(task, "cot", [4, 16], batch_size=batch_size, val_samples=4)
    options = {"accelerator": "cpu", "log_every_n_steps": 1, "limit_val_batches": 0, **options}
    trainer = Trainer(
        max_steps=steps, logger=False, enable_progress_bar=False,
        enable_checkpointing=any(isinstance(one, LastCheckpoint) for one in callbacks),
        enable_model_summary=False, default_root_dir=tmp_path, use_distributed_sampler=False,
        callbacks=list(callbacks), **options,
    )  # fmt: skip
    trainer.fit(one, data, ckpt_path=ckpt_path, weights_only=False)
    return one, trainer
