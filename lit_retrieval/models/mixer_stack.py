"""What a model of mixers remembers, counted."""

from collections import Counter
from typing import cast

import torch
from torch import Tensor, nn

from lit_retrieval.mixers import FlaLayer, Mixer


class MixerStack(nn.Module):
    """A model whose memory is that of its `mixers`, in the number format of its `embedding`."""

    mixers: nn.ModuleList
    embedding: Tensor

    def state_size(self, length: int) -> int:
        """How many numbers the model remembers of one sample after `length` tokens."""
        return sum(cast(Mixer, mixer).state_size(length) for mixer in self.mixers)

    def state_sizes(self, length: int) -> dict[str, int]:
        """The same by kind of mixer, those that remember nothing left out."""
        sizes: Counter[str] = Counter()
        for mixer in self.mixers:
            kind = type(mixer.layer if isinstance(mixer, FlaLayer) else mixer).__name__
            sizes[kind] += cast(Mixer, mixer).state_size(length)
        return {kind: size for kind, size in sizes.items() if size}

    def state_bits(self, length: int) -> int:
        """How many bits those numbers are, in the number format of the embedding."""
        return self.state_size(length) * torch.finfo(self.embedding.dtype).bits

    @property
    def num_parameters(self) -> int:
        """How many numbers are trained; a frozen embedding is not."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)
