"""The longest text of a model."""

import warnings

import pytest
import torch
from torch import nn

from lit_retrieval.errors import UserError
from lit_retrieval.models import HuggingFaceModel, WholeModel, check_length, check_text

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
GPT = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 18}
SHORT = {**SIZES, "max_position_embeddings": 24}
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4,
    "original_max_position_embeddings": 8,
}  # fmt: skip
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}


@pytest.mark.parametrize(
    ("model_type", "config", "places"),
    [
        ("llama", SHORT, None),
        ("gpt2", GPT, 18),
        ("llama", {**SHORT, "rope_parameters": LONGROPE}, 8),
        ("llama", {**SHORT, "rope_parameters": DYNAMIC}, 24),
    ],
    ids=["rotary", "vectors", "longrope", "dynamic"],
)
@torch.no_grad()
def test_random_weights_have_a_longest_text_only_where_a_longer_one_is_wrong(model_type, config, places):
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = WholeModel(40, lambda vocab_size: HuggingFaceModel(vocab_size, model_type, config)).eval()
    assert model.most_places == places
    if places is None or model_type == "gpt2":
        return
    tokens = torch.arange(2 * (places + 1)).view(2, -1) % 40
    for length, is_wrong in ((places, False), (places + 1, True)):
        _, state = model(tokens[:, : length - 1])
        last, _ = model(tokens[:, length - 1 : length], state)
        assert torch.allclose(last[:, 0], model(tokens[:, :length])[0][:, -1], rtol=0, atol=1e-6) != is_wrong


def test_a_text_that_is_too_long_is_refused_in_one_line():
    model = nn.Linear(2, 2)
    check_length(model, 10**9)
    model.most_places = 5
    check_length(model, 5)
    said = (
        r"^samples must have at most 5 tokens, the places of the model, got 6 at size 3; set "
        r"data\.sizes, data\.eval_sizes or data\.max_new_tokens$"
    )
    with pytest.raises(UserError, match=said):
        check_length(model, 6, "at size 3")


def test_a_text_that_is_too_long_ends_what_can_not_read_it_and_is_told_elsewhere():
    model = nn.Linear(2, 2)
    model.most_places = 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_text(model, 5, 9)
    with pytest.warns(UserWarning, match="some texts have more than the 5 tokens that the model has places for"):
        check_text(model, 6)
    model.has_vectors_of_places = True
    check_text(model, 3, 2)
    with pytest.raises(UserError, match=r"samples must have at most 5 tokens, .*, got 6 with data"):
        check_text(model, 3, 3)
