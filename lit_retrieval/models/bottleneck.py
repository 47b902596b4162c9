"""A model that answers from one vector: MAD's autoencoder."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_retrieval.mixers import State
from lit_retrieval.models.mixer_stack import select_positions
from lit_retrieval.models.rms_norm import RMSNorm
from lit_retrieval.models.sequence_model import SequenceModel, Stage


class BottleneckModel(SequenceModel):
    """A `SequenceModel` that predicts the tokens after a mark only from its vector at the mark.

    At the last mark m and at i tokens after it, the head reads MLP(h_m + e(i)) in place of the residual stream. h_m is
    the residual stream at the mark, e(i) a vector of sines and cosines of i, and the MLP has a norm, a linear layer and
    GELU, twice. Before a mark it is a usual `SequenceModel`. (The decoder of compression in MAD, arXiv:2403.17844.)

    Args:
        vocab_size, hidden_size, stages: As in `SequenceModel`.
        mark: Token id of the mark.
        options: Further arguments of `SequenceModel`.
    """

    def __init__(self, vocab_size: int, hidden_size: int, stages: list[Stage], *, mark: int, **options: Any) -> None:
        super().__init__(vocab_size, hidden_size, stages, **options)
        self.mark = mark
        layers = ((RMSNorm(hidden_size), nn.Linear(hidden_size, hidden_size), nn.GELU()) for _ in range(2))
        self.decoder = nn.Sequential(*(layer for block in layers for layer in block))

    def read(self, tokens: Tensor, state: State = None, positions: Tensor | None = None) -> tuple[Tensor, State]:
        """The head's input, `(batch, time, hidden_size)`, and the state; see `SequenceModel.read`."""
        before: Any = (None, self.embedding.new_zeros(len(tokens), self.embedding.shape[1]), None)
        inner, code, since = before if state is None else state
        since = tokens.new_full((len(tokens),), -1) if since is None else since  # -1 before the first mark
        hidden, new_inner = self.mix(F.embedding(tokens, self.embedding), inner)
        steps = torch.arange(tokens.shape[1], device=tokens.device)
        last_mark = torch.where(tokens == self.mark, steps, -1).cummax(1).values
        is_new = last_mark >= 0
        later = torch.where((since >= 0)[:, None], since[:, None] + 1 + steps, -1)
        since_mark = torch.where(is_new, steps - last_mark, later)
        vectors = hidden.gather(1, last_mark.clamp(min=0)[..., None].expand_as(hidden))
        codes = torch.where(is_new[..., None], vectors, code[:, None].to(hidden.dtype))
        decoded = self.decoder(codes + waves(since_mark, hidden.shape[2]).to(hidden.dtype))
        read = torch.where((since_mark >= 0)[..., None], decoded, hidden)
        return select_positions(read, positions), (new_inner, codes[:, -1], since_mark[:, -1])

    def state_size(self, length: int) -> int:
        """The state elements of the mixers, the vector at the mark, and the number of tokens since."""
        return super().state_size(length) + self.embedding.shape[1] + 1

    @torch.no_grad()
    def state_bits(self, length: int) -> int:
        """The bits of those elements; see `SequenceModel.state_bits`."""
        _, (_, code, since) = self.read(torch.zeros(1, 1, dtype=torch.int64, device=self.embedding.device))
        return super().state_bits(length) + 8 * int(code.nbytes + since.nbytes)


def waves(places: Tensor, size: int) -> Tensor:
    """Sines, then cosines of `places (...)` with wavelengths from 2 pi to 10,000 * 2 pi, `(..., size)`."""
    half = (size + 1) // 2
    rates = 10000.0 ** (-torch.arange(half, device=places.device) / max(1, half - 1))
    angles = places[..., None] * rates
    return torch.cat([angles.sin(), angles.cos()], -1)[..., :size]
