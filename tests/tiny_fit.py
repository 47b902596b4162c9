"""A training run of a few steps in this process, for the tests of what happens in a step."""

import torch
from lightning.pytorch import Trainer

from lit_retrieval.data import TranscriptData
from lit_retrieval.mixers import Mamba
from lit_retrieval.models import Stage
from lit_retrieval.tasks import StringCopying
from lit_retrieval.training import LastCheckpoint, SequenceModule


class Recording(SequenceModule):
    """Keeps the gradient of the last step, as it is before clipping."""

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        self.gradient = torch.cat([one.grad.flatten() for one in self.parameters() if one.grad is not None])
        super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)


def fit(tmp_path, task=None, module=Recording, batch_size=8, callbacks=(), steps=2, mixer=Mamba, **options):
    """Train a tiny model on transcripts of very different lengths."""
    task = task or StringCopying(max_size=16, vocab_size=5)
    torch.manual_seed(0)
    one = module(len(task.vocabulary), 8, [Stage([mixer])], warmup_samples=0, learning_rate=1e-3)
    data = TranscriptData(task, "cot", [4, 16], batch_size=batch_size, val_samples=4)
    options = {"accelerator": "cpu", "log_every_n_steps": 1, "limit_val_batches": 0} | options
    trainer = Trainer(
        max_steps=steps, logger=False, enable_progress_bar=False,
        enable_checkpointing=any(isinstance(one, LastCheckpoint) for one in callbacks),
        enable_model_summary=False, default_root_dir=tmp_path, use_distributed_sampler=False,
        callbacks=list(callbacks), **options,
    )  # fmt: skip
    trainer.fit(one, data)
    return one, trainer
