"""What loads a pretrained model."""

from typing import Protocol

from torch import nn


class PretrainedLoader(Protocol):
    """Loads a pretrained model; in YAML, a `class_path` with its `init_args`.

    Weights that it freezes (`requires_grad_(False)`) are not written into checkpoints: it must load the same again. An
    argument `folder` with one `sha256: str | None = None` beside it lets a run know the weights of that folder.
    """

    def load(self, *, vocab_size: int) -> nn.Module:
        """Load a network for so many tokens, in training mode; see `NetworkFactory`."""
        ...
