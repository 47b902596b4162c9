"""The interface of a loader of pretrained models."""

from typing import Protocol

from torch import nn


class PretrainedLoader(Protocol):
    """Loads a pretrained model; in YAML, a `class_path` with its `init_args`.

    Frozen weights (`requires_grad_(False)`) are not written into checkpoints, so the loader must load the same ones
    again. If it has arguments `folder` and `sha256: str | None = None`, the run checks the weights in that folder.
    """

    def load(self, *, vocab_size: int) -> nn.Module:
        """Load a network for this vocabulary size, in training mode; see `NetworkFactory`."""
        ...
