"""The three architectures: counts, states, embedding, learning."""

import math
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from torch.nn import functional as F

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import Attention, LinearRNN, Mamba, ReGLU, SwiGLU, select_rows, tensors_of
from lit_retrieval.models import SequenceModel, Stage, sinusoidal_embedding

CONFIGS = Path(__file__).parents[2] / "configs" / "model"
LLAMA = Stage([partial(Attention, num_heads=2), partial(SwiGLU, intermediate_size=24)])
ARCHITECTURES = {
    "transformer": [Stage(LLAMA.mixers, 2)],
    "mamba": [Stage([partial(Mamba, state_dim=4)], 2)],
    "hybrid": [Stage([partial(Mamba, state_dim=4)], 2), LLAMA],
}


@pytest.fixture(params=ARCHITECTURES)
def model(request):
    torch.manual_seed(0)
    return SequenceModel(vocab_size=20, hidden_size=16, stages=ARCHITECTURES[request.param])


def draw_tokens(batch: int, time: int) -> torch.Tensor:
    return torch.randint(20, (batch, time), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "num_parameters"),
    [
        ("transformer_0.5M", 525_376), ("transformer_1M", 1_050_688), ("transformer_2M", 1_969_280),
        ("mamba_0.5M", 523_328), ("mamba_1M", 1_166_208), ("mamba_2M", 2_099_072),
        ("hybrid_0.5M", 458_176), ("hybrid_1M", 980_480), ("hybrid_2M", 1_796_736),
    ],
)  # fmt: skip
def test_paper_models_have_the_papers_size(name, num_parameters):
    text = (CONFIGS / f"{name}.yaml").read_text()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(SequenceModel)
    config = yaml.safe_load(text)
    arguments = {"vocab_size": 16, "hidden_size": config["hidden_size"], "stages": config["stages"]}
    model = SequenceModel(**parser.instantiate(parser.parse_object(arguments)))
    assert model.num_parameters == num_parameters
    assert f"{num_parameters:,} trainable parameters" in text


@pytest.mark.parametrize("lengths", [[1] * 12, [5, 1, 3, 1, 2]])
@torch.inference_mode()
def test_cached_logits_equal_full_logits(model, lengths):
    tokens = draw_tokens(3, 12)
    logits, _ = model(tokens)
    parts, state = [], None
    for part in tokens.split(lengths, 1):
        part_logits, state = model(part, state)
        parts.append(part_logits)
    torch.testing.assert_close(torch.cat(parts, 1), logits, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_rows_may_leave_between_two_steps(model):
    tokens, rows = draw_tokens(4, 9), torch.tensor([3, 1])
    _, state = model(tokens[:, :6])
    _, state = model(tokens[:, 6:7], state)
    logits, _ = model(tokens[rows, 7:], select_rows(state, rows))
    torch.testing.assert_close(logits, model(tokens)[0][rows, 7:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("is_mixed", [False, True])
def test_state_size_counts_a_real_state(model, dtype, is_mixed):
    with torch.autocast("cpu", torch.bfloat16, enabled=is_mixed):
        _, state = model.to(dtype)(draw_tokens(1, 9))
        assert model.state_size(9) == sum(tensor.numel() for tensor in tensors_of(state))
        assert model.state_bits(9) == sum(8 * tensor.nbytes for tensor in tensors_of(state))


@pytest.mark.parametrize("is_training", [True, False])
def test_counting_bits_draws_nothing_and_leaves_the_mode(is_training):
    class Noise(torch.nn.Dropout):
        def __init__(self, hidden_size, layer_idx):
            super().__init__(0.5)

        def forward(self, x, state=None):
            assert not self.training
            return super().forward(x), None

        def state_size(self, length):
            return 0

    model = SequenceModel(8, 4, [Stage([Noise])]).train(is_training)
    before = torch.get_rng_state()
    assert model.state_bits(9) == 0
    assert torch.equal(torch.get_rng_state(), before)
    assert {module.training for module in model.modules()} == {is_training}


def test_frozen_embedding_is_not_trained(model):
    before = model.embedding.clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model(draw_tokens(2, 5))[0].square().sum().backward()
    optimizer.step()
    assert torch.equal(model.embedding, before)
    assert "embedding" not in dict(model.named_parameters())
    assert torch.equal(model.embedding, sinusoidal_embedding(20, 16))


def test_learned_embedding_is_one_matrix_trained_from_both_ends():
    frozen, learned = (
        SequenceModel(20, 16, ARCHITECTURES["mamba"], embedding=kind) for kind in ("sinusoidal", "learned")
    )
    assert learned.num_parameters == frozen.num_parameters + 20 * 16
    learned(draw_tokens(1, 1))[0][..., 0].sum().backward()
    assert (learned.embedding.grad.abs().sum(1) > 0).nonzero().flatten().tolist() == sorted({0, int(draw_tokens(1, 1))})


def test_embedding_is_the_papers():
    embedding = sinusoidal_embedding(vocab_size=50, hidden_size=6)
    assert embedding.shape == (50, 6)
    assert math.isclose(embedding[7, 2], math.sin(7 / 10000 ** (2 / 6)), rel_tol=1e-6)
    assert math.isclose(embedding[7, 3], math.cos(7 / 10000 ** (2 / 6)), rel_tol=1e-6)


def test_every_parameter_gets_a_gradient(model):
    F.cross_entropy(model(draw_tokens(4, 8))[0].flatten(0, 1), draw_tokens(4, 8).flatten()).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_model_learns_to_repeat_a_token_from_three_steps_ago(model):
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    tokens = draw_tokens(32, 3).repeat(1, 5)
    for _ in range(100):
        loss = F.cross_entropy(model(tokens[:, :-1])[0][:, 3:].flatten(0, 1), tokens[:, 4:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.6  # a guess has ln 20 = 3


def test_layers_are_counted_across_stages():
    layers = []

    def make(hidden_size: int, layer_idx: int) -> Mamba:
        layers.append(layer_idx)
        return Mamba(hidden_size, layer_idx)

    SequenceModel(5, 8, [Stage([make, make], 2), Stage([make])])
    assert layers == [0, 1, 2, 3, 4]


def test_a_model_without_norms_is_the_papers_block():
    model = SequenceModel(20, 16, [Stage([LinearRNN, partial(ReGLU, intermediate_size=8)])], norm="none")
    x = F.embedding(draw_tokens(2, 5), model.embedding)
    unit, feed_forward = model.mixers
    x = x + unit(x)[0]
    x = x + feed_forward(x)[0]
    torch.testing.assert_close(model(draw_tokens(2, 5))[0], x @ model.embedding.t())


@pytest.mark.parametrize("embedding", ["sinusoidal", "learned"])
def test_an_untied_head_and_the_eps_of_norms_are_those_given(embedding):
    torch.manual_seed(0)
    make = partial(SequenceModel, 20, 16, [Stage([LinearRNN])], embedding=embedding)
    model, tied = make(norm_eps=0.5, head="untied", initializer_range=0.3), make(norm_eps=0.5)
    assert model.num_parameters == tied.num_parameters + 20 * 16 and 0.2 < model.head.std() < 0.4
    x = F.embedding(draw_tokens(2, 5), model.embedding)
    x = x + model.mixers[0](F.rms_norm(x, (16,), eps=0.5))[0]
    logits = model(draw_tokens(2, 5))[0]
    torch.testing.assert_close(logits, F.rms_norm(x, (16,), eps=0.5) @ model.head.T)
    assert torch.autograd.grad(logits.sum(), model.head)[0].abs().sum() > 0
    with pytest.raises(UserError, match="norm_eps must be above 0"):
        make(norm_eps=0.0)


def test_model_without_mixers_is_refused():
    with pytest.raises(UserError, match="stages must have one mixer or more"):
        SequenceModel(5, 8, [Stage([], 3)])


def test_parameters_keep_the_order_that_optimizer_states_in_checkpoints_follow():
    model = SequenceModel(8, 4, [Stage([lambda **made: SwiGLU(**made, intermediate_size=4)], 2)], embedding="learned")
    assert [name for name, _ in model.named_parameters()] == [
        "embedding", "mixers.0.gate_up_proj.weight", "mixers.0.down_proj.weight", "mixers.1.gate_up_proj.weight",
        "mixers.1.down_proj.weight", "final_norm.weight", "norms.0.weight", "norms.1.weight",
    ]  # fmt: skip
