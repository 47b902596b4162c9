"""A language model in which every weight is constructed."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_retrieval.constructions.registers import Registers, write_embedding, write_head
from lit_retrieval.models import MixerStack, select_positions
from lit_retrieval.vocabulary import Vocabulary


class ConstructedModel(MixerStack):
    """The paper's models without norms: h = h + mixer(h) for one mixer after the other (arXiv:2402.18510, section 3).

    Embedding and head are fixed functions of the words, not parameters (appendix A.3).

    Args:
        vocabulary: The words.
        registers: Names of the residual stream's channels; `position` is set by the model if it is among them.
        mixers: The layers, with their weights.
        dtype: The dtype of the weights; float32 is exact for short contexts only.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        registers: Registers,
        mixers: Sequence[nn.Module],
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        self.registers = registers
        self.mixers = nn.ModuleList(mixers)
        self.norms = nn.ModuleList(nn.Identity() for _ in mixers)
        self.register_buffer("embedding", write_embedding(registers, vocabulary))
        self.register_buffer("head", write_head(registers, vocabulary))
        self.to(dtype)

    def forward(self, tokens: Tensor, state: Any = None, positions: Tensor | None = None) -> tuple[Tensor, Any]:
        """Predict the token after each position; see `SequenceModel.forward`."""
        start, states = (0, None) if state is None else state
        hidden = F.embedding(tokens, self.embedding)
        stop = start + tokens.shape[1]
        if "position" in self.registers:
            hidden[..., self.registers["position"]] = torch.arange(start, stop, device=tokens.device).to(hidden.dtype)
        hidden, new_states = self.mix(hidden, states)
        return F.linear(select_positions(hidden, positions), cast(Tensor, self.head)), (stop, new_states)
