"""Mixers side by side: the sum of their outputs, in YAML, in pictures and in the count of the state."""

from functools import partial

import pytest
import torch
from jsonargparse import ArgumentParser

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import Attention, AttentionState, LinearRNN, Mamba, Parallel
from lit_retrieval.models import SequenceModel, Stage

BESIDE = [partial(Attention, num_heads=2), Mamba]
IN_YAML = {
    "class_path": "lit_retrieval.mixers.Parallel",
    "init_args": {"mixers": [
        {"class_path": "lit_retrieval.mixers.Attention", "init_args": {"num_heads": 2}},
        {"class_path": "lit_retrieval.mixers.Mamba"},
    ]},
}  # fmt: skip


def test_the_output_is_the_sum_and_the_state_a_tuple():
    mixer, x = Parallel(16, 3, BESIDE), torch.randn(2, 7, 16)
    attention, mamba = mixer.mixers
    y, state = mixer(x)
    torch.testing.assert_close(y, attention(x)[0] + mamba(x)[0])
    assert isinstance(state[0], AttentionState) and torch.equal(state[1].scan, mamba(x)[1].scan)
    assert mixer.state_size(7) == attention.state_size(7) + mamba.state_size(7)


def test_yaml_names_mixers_inside_a_mixer():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(SequenceModel)
    config = parser.parse_object({"vocab_size": 5, "hidden_size": 16, "stages": [{"mixers": [IN_YAML], "repeat": 2}]})
    model = SequenceModel(**parser.instantiate(config))
    assert [type(one) for one in model.mixers[1].mixers] == [Attention, Mamba]
    assert model.mixers[1].mixers[0].num_heads == 2


def test_the_state_is_counted_mixer_by_mixer_at_the_width_of_each():
    model = SequenceModel(5, 16, [Stage([partial(Parallel, mixers=[partial(Attention, num_heads=2), LinearRNN])])])
    with torch.autocast("cpu", torch.bfloat16):
        assert model.state_bits(100) == 16 * 2 * 16 * 100 + 32 * 16
    assert model.state_sizes(100) == {"Attention": 3200, "LinearRNN": 16}


def test_maps_of_the_same_kind_stay_apart():
    maps = Parallel(16, 0, [*BESIDE, Mamba]).inspect(torch.randn(1, 5, 16))
    assert list(maps) == ["attention", "decay", "decay of mixer 2"]


@pytest.mark.parametrize("mixers", [[], [Mamba]])
def test_fewer_than_two_are_refused(mixers):
    with pytest.raises(UserError, match=r"mixers of Parallel must be two or more, got [01]; set model\.stages"):
        Parallel(16, 0, mixers)
