"""Tests a model with only some of its attention heads."""

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import Attention


class KeptHeads(Callback):
    """Tests a model with only the given attention heads, as in arXiv:2510.19861 and arXiv:2602.11374.

    In every layer of `Attention` and `SlidingWindowAttention`, all other heads are zeroed during the test. The saved
    weights do not change.

    Args:
        heads: Indices of the heads to keep, from 0; an empty list keeps none.
    """

    def __init__(self, heads: list[int]) -> None:
        self.heads = heads
        self._weights: list[tuple[Tensor, Tensor]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Raise `UserError` for commands other than `test`, which would run with all heads."""
        if stage != "test":
            raise UserError("KeptHeads must be used by `test` alone; leave it out of trainer.callbacks elsewhere")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the other heads' columns of each output projection to zero."""
        layers = [layer for layer in pl_module.modules() if isinstance(layer, Attention)]
        most = min((layer.num_heads for layer in layers), default=0)
        if not layers or not all(0 <= head < most for head in self.heads):
            raise UserError(
                f"the heads of KeptHeads must be those of layers of Attention, 0 to {most - 1}, got {self.heads}; set "
                "trainer.callbacks...heads"
                if layers
                else "KeptHeads needs a model with a layer of Attention or SlidingWindowAttention; leave it out"
            )
        for layer in layers:
            weight = layer.out_proj.weight.data
            self._weights.append((weight, weight.clone()))
            for head in set(range(layer.num_heads)) - set(self.heads):
                weight[:, head * layer.head_dim : (head + 1) * layer.head_dim] = 0

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the weights."""
        for weight, before in self._weights:
            weight.copy_(before)
        self._weights.clear()
