"""A large model is measured before its weights are allocated, and the first weights stay the same."""

import pytest
import torch

from lit_retrieval.mixers import GRU, Attention, Mamba, SwiGLU
from lit_retrieval.models import SequenceModel, Stage, sequence_model


@pytest.mark.parametrize("mixers", [[Mamba], [Attention, SwiGLU], [GRU]])
def test_the_measured_weights_are_those_of_the_model(monkeypatch, mixers):
    def build():
        torch.manual_seed(0)
        return SequenceModel(9, 16, [Stage(mixers, repeat=2)], "learned", norm="none")

    plain, said = build(), []
    monkeypatch.setattr(sequence_model, "_MANY", 0)
    monkeypatch.setattr(sequence_model, "check_memory", lambda what, size, where: said.append(what))
    measured = build()
    assert all(torch.equal(one, other) for one, other in zip(plain.parameters(), measured.parameters(), strict=True))
    weights = sum(one.numel() for one in plain.parameters())
    assert said == ["the embedding", f"the model's {2 * len(mixers)} layers with {weights:,} weights"]
