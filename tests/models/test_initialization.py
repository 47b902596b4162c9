"""The first weights: which ones `initializer_range` draws, which keep their meaning, and outputs that are rescaled."""

import sys

import pytest
import torch
from fla_layers import FURTHER, OTHERS, SMALL, make_layer
from fla_layers import HIDDEN_SIZE as FLA_WIDTH
from mixer_cases import HIDDEN_SIZE, MIXERS, make_mixer
from torch import nn

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import LinearRNN, Mamba, Parallel, SwiGLU, as_mixer
from lit_retrieval.models import SequenceModel, Stage
from lit_retrieval.models.initialization import draw_weights, rescale_outputs

NAMES = [*MIXERS, *(SMALL if sys.platform == "linux" else ())]
KEPT = {
    "Mamba": {"dt_proj"},
    "grouped attention beside Mamba": {"mixers.1.dt_proj"},
    "RWKV7Attention": {"all"},
    "Titans": {"gates_proj"},
}
STD = 0.5  # far from what any layer begins with


@pytest.mark.parametrize("name", NAMES)
def test_matrices_are_normal_biases_zero_and_the_rest_stays(name):
    mixer = make_mixer(name) if name in MIXERS else make_layer(name)
    before = {part: one.clone() for part, one in mixer.named_parameters()}
    torch.manual_seed(1)
    draw_weights(mixer, STD)
    drawn, kept = [], KEPT.get(name, set())
    for part, module in mixer.named_modules():
        is_layer = isinstance(module, nn.Linear | nn.Conv1d | nn.RNNBase) and not kept & {"all", part}
        for own, one in module.named_parameters(prefix=part, recurse=False):
            if is_layer and one.ndim > 1:
                drawn.append(one.flatten())
                assert not torch.equal(one, before[own])
            else:
                assert torch.equal(one, torch.zeros_like(one) if is_layer else before[own]), own
    if "all" not in kept:
        values = torch.cat(drawn) / STD
        error = len(values) ** -0.5
        assert abs(values.mean()) < 4 * error and abs(values.std() - 1) < 4 * error and values.abs().max() > 2


def test_the_model_draws_its_mixers_and_a_learned_embedding():
    model = SequenceModel(300, HIDDEN_SIZE, [Stage([Mamba, SwiGLU])], "learned", initializer_range=0.006)
    matrices = [model.embedding, model.mixers[0].in_proj.weight, model.mixers[1].down_proj.weight]
    assert all(abs(one.std() / 0.006 - 1) < 0.1 for one in matrices)
    assert (model.norms[0].weight == 1).all() and model.mixers[0].dt_proj.bias.abs().min() > 1


def test_without_the_key_no_weight_and_no_random_number_changes():
    torch.manual_seed(0)
    model = SequenceModel(5, HIDDEN_SIZE, [Stage([SwiGLU])], "learned")
    torch.manual_seed(0)
    embedding, mixer = HIDDEN_SIZE**-0.5 * torch.randn(5, HIDDEN_SIZE), SwiGLU(HIDDEN_SIZE, 0)
    assert torch.equal(model.embedding, embedding)
    assert torch.equal(model.mixers[0].down_proj.weight, mixer.down_proj.weight)


@pytest.mark.parametrize("value", [0.0, -0.02, float("nan")])
def test_a_range_that_is_none_is_refused(value):
    with pytest.raises(UserError, match=r"initializer_range must be above 0 .* set model\.initializer_range"):
        SequenceModel(5, HIDDEN_SIZE, [Stage([SwiGLU])], initializer_range=value)


WITHOUT_PROJECTION = {"linear RNN", "diagonal linear RNN", "Canon", "linear RNN beside a window"}
FLA = sorted(SMALL | FURTHER | OTHERS) if sys.platform == "linux" else []


@pytest.mark.parametrize("name", [*sorted(set(MIXERS) - WITHOUT_PROJECTION), *FLA])
def test_one_of_four_mixers_begins_with_half_its_output(name):
    mixer = (make_mixer(name) if name in MIXERS else as_mixer(make_layer(name))).eval()
    width = HIDDEN_SIZE if name in MIXERS else FLA_WIDTH
    inputs = torch.randn(2, 9, width)
    with torch.no_grad():
        for part, one in mixer.named_parameters():
            if part.endswith(("out_proj.bias", "o_proj.bias", "down_proj.bias")):
                one.zero_()
        before = mixer(inputs)[0]
        rescale_outputs(nn.ModuleList([mixer, *(SwiGLU(width, layer_idx) for layer_idx in (1, 2, 3))]))
        torch.testing.assert_close(mixer(inputs)[0], before / 2)
    assert before.abs().max() > 1e-3


def test_a_rescaled_model_differs_in_its_last_projections_only():
    models = []
    for options in ({}, {"residual": "rescaled"}):
        torch.manual_seed(0)
        models.append(SequenceModel(5, HIDDEN_SIZE, [Stage([Mamba, SwiGLU], 2)], "learned", **options).state_dict())
    before, after = models
    for part, weight in before.items():
        is_last = part.endswith(("out_proj.weight", "down_proj.weight"))
        assert torch.equal(after[part], weight / 2 if is_last else weight), part


@pytest.mark.parametrize("is_inside", [False, True])
def test_a_mixer_without_a_known_projection_is_refused(is_inside):
    def beside(**where):
        return Parallel(**where, mixers=[Mamba, LinearRNN])

    with pytest.raises(UserError, match=r"model\.residual: rescaled needs .* and LinearRNN has none"):
        SequenceModel(5, HIDDEN_SIZE, [Stage([Mamba, beside if is_inside else LinearRNN])], residual="rescaled")
