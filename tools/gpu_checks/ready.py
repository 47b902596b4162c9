"""The ready models of configs/model, batches for them, and their loss."""

from pathlib import Path

import numpy as np
import torch
from benchmarks.models import MODEL_FILES, build_model
from torch import Tensor, nn
from torch.nn import functional as F

from lit_retrieval.data import Batch, BatchDataset
from lit_retrieval.ops.fla_blocks import fix_block_sizes
from lit_retrieval.tasks import IsTree, Regime, SampleStream
from lit_retrieval.training.gpu_setup import set_float32

Length = tuple[int, Regime]  # vertices, and how they are answered
OWN = ("mamba_0.5M", "transformer_0.5M", "hybrid_0.5M")
REFERENCE = Path(__file__).parents[2] / "tests" / "data" / "gpu_reference.json"
RANDOM = {"raven_0.5M"}  # adds noise in training, which differs between devices
NAMES = sorted({path.stem for path in MODEL_FILES.glob("*_0.5M.yaml")} - RANDOM)  # models to compare on a GPU
_CLIP = 1.0


class Problem:
    """A ready model with fresh weights, and a batch of IsTree for it, on one device.

    Args:
        name: A file in configs/model, without its extension.
        device: cuda or cpu.
        size: Vertices of the graphs.
        regime: Regime of the answers.
        count: Samples in the batch.
        split: Stream of the samples.
    """

    def __init__(
        self, name: str, device: str, size: int = 16, regime: Regime = "retrieval", count: int = 64, split: str = "fit"
    ) -> None:
        self.task = IsTree(max_size=size)
        stream = BatchDataset(SampleStream(self.task, regime, [size], 0, split))
        self.batch: Batch = stream[np.arange(count)]
        torch.manual_seed(0)
        self.model = build_model(MODEL_FILES / f"{name}.yaml", len(self.task.vocabulary)).to(device)
        if device == "cuda":
            fix_block_sizes()
            set_float32("ieee")
        self.inputs, self.positions, self.targets = (
            one.to(device) for one in (self.batch.tokens[:, :-1], self.batch.positions, self.batch.targets)
        )
        trained = [one for one in self.model.parameters() if one.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-3, fused=True)

    @property
    def time(self) -> int:
        """The length of the batch's rows."""
        return self.inputs.shape[1]

    def loss(self) -> Tensor:
        """The mean loss over the model's own tokens."""
        logits, _ = self.model(self.inputs, positions=self.positions)
        return F.cross_entropy(logits.float(), self.targets)

    def gradients(self) -> dict[str, Tensor]:
        """The gradient of the loss, by the names of the parameters."""
        self.model.zero_grad()
        self.loss().backward()  # type: ignore[no-untyped-call]
        return {name: one.grad for name, one in self.model.named_parameters() if one.grad is not None}

    def step(self) -> Tensor:
        """Take one step of training; returns its loss."""
        loss = self.loss()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP)
        self.optimizer.step()
        return loss.detach()
