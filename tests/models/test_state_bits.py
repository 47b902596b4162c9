"""The bits of a state whose tensors have several dtypes, against those of a state that has read so many tokens."""

from functools import partial

import pytest
import torch
from mixer_cases import MIXERS

from lit_retrieval.mixers import make_mixer, tensors_of
from lit_retrieval.models import SequenceModel, Stage

OF_FLA = {
    "LogLinearMamba2": {"num_heads": 4, "head_dim": 16, "state_size": 16, "expand": 2, "conv_kernel": 4},
    "PaTHAttention": {"num_heads": 2},
    "GatedDeltaNet": {"num_heads": 2, "head_dim": 16},
}


def bits_of(model, length):
    _, state = model.mix(torch.randn(1, length, model.embedding.shape[1]), None)
    return sum(8 * one.nbytes for one in tensors_of(state))


@pytest.mark.parametrize("length", [1, 3, 40, 127])
@pytest.mark.parametrize("name", [*OF_FLA, "Mamba", "attention"])
def test_they_are_those_of_the_state_in_half_precision(name, length):
    if name in OF_FLA:
        fla_layers = pytest.importorskip("fla.layers")
        mixer = partial(getattr(fla_layers, name), **OF_FLA[name])
    else:
        mixer = MIXERS[name]
    torch.manual_seed(0)
    model = SequenceModel(5, 32, [Stage([lambda **sizes: make_mixer(mixer, **sizes)])], embedding="learned").eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert model.state_bits(length) == bits_of(model, length)
