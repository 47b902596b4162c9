"""Weights of transformers' and fla's models in our layers, and back: the same logits, and the same bits."""

import sys
from functools import partial
from importlib import import_module

import pytest
import torch
from pretrained_models import VOCABULARY, write_folder

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import GRU, Attention, Mamba, SlidingWindowAttention, SwiGLU, select_rows
from lit_retrieval.models import BottleneckModel, SequenceModel, Stage, WholeModel
from lit_retrieval.pretrained import Folder, Layers, as_causal_model, out
from lit_retrieval.pretrained.folder import read_model
from lit_retrieval.pretrained.layers import compare

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")
BOTH_WAYS = {
    "llama": {"rms_norm_eps": 1e-3},
    "llama, tied": {"tie_word_embeddings": True, "num_key_value_heads": 4},
    "mistral": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "ministral": {},
    "mamba": {},
    "mamba, other biases": {
        "use_bias": True, "use_conv_bias": False, "time_step_rank": 5, "expand": 3, "conv_kernel": 3,
        "tie_word_embeddings": False, "layer_norm_epsilon": 1e-3,
    },
    "gla": {"norm_eps": 1e-3},
    "gated_deltanet": {},
    "delta_net": {"tie_word_embeddings": True},
    "retnet": {},
    "kda": {},
    "linear_attn": {},
}  # fmt: skip
STRETCHED = {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}
REFUSED = [
    ("llama", STRETCHED, "rope_type must be default, got linear"),
    ("llama", {"attention_bias": True}, "mixers.0.k_proj.bias is a weight of one model only"),
    ("llama", {"mlp_bias": True}, "mixers.1.down_proj.bias is a weight of one model only"),
    ("llama", {"hidden_act": "gelu"}, "differs by"),
    ("ministral", {"head_dim": 16}, "head_dim must be 32 / 4, got 16"),
    ("falcon_mamba", {}, "differs by"),
    ("mamba2", {}, "mixers.0.dt_bias is a weight of one model only"),
    ("bamba", {}, "it has no model.layers.0.self_attn.weight"),
    ("lfm2", {}, "it has no model.layers.0.input_layernorm.weight"),
    ("fla_mamba2", {}, "has no attribute 'time_step_rank'"),
]


def logits_of(model, tokens):
    return model(input_ids=tokens, use_cache=False).logits


@pytest.fixture
def tokens():
    return torch.randint(VOCABULARY, (3, 23), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", BOTH_WAYS)
@torch.no_grad()
def test_weights_come_in_and_go_out_again(name, tokens, tmp_path):
    folder = write_folder(tmp_path, name.split(",")[0], **BOTH_WAYS[name])
    model, source = Layers(folder).load(vocab_size=VOCABULARY).eval(), read_model(folder, torch.float32)
    expected = logits_of(source, tokens)
    torch.testing.assert_close(model(tokens)[0], expected, rtol=0, atol=1e-5)
    pieces, state, rows = [], None, torch.tensor([2, 0])
    for piece in (*tokens[:, :14].split([5, 1, 2, 6], 1),):
        logits, state = model(piece, state)
        pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces, 1), expected[:, :14], rtol=0, atol=1e-5)
    rest, _ = model(tokens[rows, 14:], select_rows(state, rows))
    torch.testing.assert_close(rest, expected[rows, 14:], rtol=0, atol=1e-5)
    back, weights = as_causal_model(model), source.state_dict()
    assert all(torch.equal(weight, weights[one]) for one, weight in back.state_dict().items())
    torch.testing.assert_close(logits_of(back, tokens), expected, rtol=0, atol=1e-5)
    there, here = source.config.to_dict(), back.config.to_dict()
    kept = {"vocab_size", "hidden_size", "tie_word_embeddings", *BOTH_WAYS[name]}
    kept |= {"max_position_embeddings"} if "llama" in name or "ministral" in name else set()
    assert {key: here[key] for key in kept} == {key: there[key] for key in kept}
    assert "fuse_cross_entropy" not in here or here["max_position_embeddings"] == 2**17


@pytest.mark.parametrize(("architecture", "changed", "said"), REFUSED)
def test_a_model_of_other_layers_is_refused_in_one_line(architecture, changed, said, tmp_path):
    with pytest.raises(UserError) as refused:
        Layers(write_folder(tmp_path, architecture, **changed)).load(vocab_size=VOCABULARY)
    line = str(refused.value)
    assert said in line and "ForCausalLM" in line and line.endswith("Folder, which runs any model as it is")
    assert "\n" not in line


@torch.no_grad()
def test_logits_are_for_the_tokens_of_the_task(tokens, tmp_path):
    folder = write_folder(tmp_path, "llama")
    model, tokens = Layers(folder).load(vocab_size=41).eval(), tokens % 41
    expected = logits_of(read_model(folder, torch.float32), tokens)[..., :41]
    torch.testing.assert_close(model(tokens)[0], expected, rtol=0, atol=1e-5)
    assert as_causal_model(model).config.vocab_size == 41
    with pytest.raises(UserError, match="must have the 98 tokens of the task or more, got 97"):
        Layers(folder).load(vocab_size=98)


@torch.no_grad()
def test_a_window_in_place_of_attention_keeps_its_weights(tokens, tmp_path):
    """Ministral of the same weights has windows in layers 0 and 2."""
    whole, hybrid = write_folder(tmp_path / "llama", "llama"), write_folder(tmp_path / "hybrid", "ministral")
    window = partial(SlidingWindowAttention, window=8, num_heads=4, num_kv_heads=2)
    model = Layers(whole, replace={0: window, 2: window}).load(vocab_size=VOCABULARY).eval()
    expected = logits_of(read_model(hybrid, torch.float32), tokens)
    torch.testing.assert_close(model(tokens)[0], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(logits_of(as_causal_model(model), tokens), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_window_that_llama_does_not_read_is_none(tokens, tmp_path):
    folder = write_folder(tmp_path, "llama", sliding_window=8)
    model, source = Layers(folder).load(vocab_size=VOCABULARY).eval(), read_model(folder, torch.float32)
    assert source.config.sliding_window == 8 and {type(mixer) for mixer in model.mixers} == {Attention, SwiGLU}
    torch.testing.assert_close(model(tokens)[0], logits_of(source, tokens), rtol=0, atol=1e-5)


@pytest.mark.parametrize("window", [16, 4096])
@pytest.mark.parametrize("name", ["mistral", "ministral"])
def test_logits_are_compared_behind_a_window(name, window, tmp_path):
    """A long window is short while it is compared: with one that is a token longer, a few logits differ."""
    folder = write_folder(tmp_path, name, sliding_window=window)
    model, source = Layers(folder).load(vocab_size=VOCABULARY).eval(), read_model(folder, torch.float32)
    assert compare(model, source) < 1e-5
    windows = [mixer.window for mixer in model.mixers if isinstance(mixer, SlidingWindowAttention)]
    assert {*windows, source.config.sliding_window} == {window}
    for other in (window - 1, None) if name == "mistral" else (window - 4,):  # a layer of Ministral must have one
        source.config.sliding_window = other
        assert compare(model, source) > 1e-4 and source.config.sliding_window == other


def test_a_model_whose_adapters_can_not_be_merged_is_refused(tmp_path, monkeypatch):
    model = WholeModel(VOCABULARY, Folder(write_folder(tmp_path, "llama")).load)
    assert as_causal_model(model) is model.network.model
    monkeypatch.setattr(out, "merge_adapters", lambda model: model.model.norm.weight.data.mul_(-1.0) is None or model)
    with pytest.raises(UserError, match=r"LlamaForCausalLM with its adapters merged differs by 2\.0e\+00 of"):
        as_causal_model(model)


@pytest.mark.parametrize(("architecture", "place"), [("llama", 4), ("mamba", 2), ("gla", 0)])
@pytest.mark.parametrize("train", ["all", "replaced"])
def test_any_mixer_takes_the_place_of_a_layer_and_may_be_trained_alone(architecture, place, train, tmp_path):
    layer = place // (1 if architecture == "mamba" else 2)
    folder = write_folder(tmp_path, architecture)
    model = Layers(folder, {layer: partial(GRU, state_dim=8)}, train).load(vocab_size=VOCABULARY)
    assert [isinstance(mixer, GRU) for mixer in model.mixers] == [at == place for at in range(len(model.mixers))]
    trained = {name for name, one in model.named_parameters() if one.requires_grad}
    of_layer = {name for name in dict(model.named_parameters()) if f"s.{place}." in name}
    assert trained == (of_layer if train == "replaced" else set(dict(model.named_parameters())))
    model(torch.arange(6)[None])[0].logsumexp(-1).sum().backward()
    assert all(one.grad is not None for name, one in model.named_parameters() if name in trained)


def test_mistakes_in_replaced_layers_are_named(tmp_path):
    folder = write_folder(tmp_path, "mamba")
    with pytest.raises(UserError, match="replace must have layers from 0 to 3, got 4"):
        Layers(folder, {1: GRU, 4: GRU}).load(vocab_size=VOCABULARY)
    with pytest.raises(UserError, match=r"nothing to train; set model\.pretrained\.init_args\.replace"):
        Layers(folder, train="replaced")
    with pytest.raises(UserError, match=r"train must be all or replaced, got 'replace'; set model\.pretrained"):
        Layers(folder, {1: GRU}, train="replace")
    with pytest.raises(UserError, match="must have the weights with the sha256 00"):
        Layers(folder, sha256="00").load(vocab_size=VOCABULARY)


def of_fla(name, **arguments):
    return lambda **sizes: getattr(import_module("fla.layers"), name)(**sizes, **arguments)


SWIGLU = partial(SwiGLU, intermediate_size=24)
GLA = of_fla("GatedLinearAttention", num_heads=2)
NOT_THEIRS = {
    "hybrid": ([Mamba, Attention, SWIGLU], {}, "layer 0, Mamba, can't be exported; transformers and fla have"),
    "a GRU": ([Attention, SWIGLU, GRU, SWIGLU], {}, "layer 2, GRU, can't be exported; "),
    "no SwiGLU": ([Attention, SWIGLU, Attention], {}, "layer 2, Attention, can't be exported; "),
    "two SwiGLUs": ([Attention, SWIGLU, SWIGLU], {}, "layer 2, SwiGLU, can't be exported; "),
    "two kinds": (
        [Attention, SWIGLU, GLA, SWIGLU], {},
        "layer 2 can't be exported: its kind must be that of layer 0, attention, got GatedLinearAttention",
    ),
    "other heads": (
        [Attention, SWIGLU, partial(Attention, num_heads=2), SWIGLU], {},
        "layer 2 can't be exported: its num_heads must be that of layer 0, 4, got 2",
    ),
    "other sizes": (
        [Attention, SWIGLU, Attention, SwiGLU], {}, "layer 3 can't be exported: its intermediate_size must be that of"
    ),
    "two windows": (
        [SlidingWindowAttention, SWIGLU, partial(SlidingWindowAttention, window=4), SWIGLU], {},
        "layer 2 can't be exported: its window must be that of layer 0, 32, got 4",
    ),
    "ALiBi": ([partial(Attention, position="alibi"), SWIGLU], {}, "layer 0, Attention, can't be exported: position"),
    "another layer of fla": ([of_fla("HGRN2Attention", expand_ratio=8), SWIGLU], {}, "layer 0, HGRN2Attention, can't"),
    "an argument without a key": (
        [of_fla("GatedLinearAttention", num_heads=2, gate_logit_normalizer=3), SWIGLU], {}, "configuration has no keys"
    ),
    "other weights": (
        [of_fla("GatedDeltaNet", num_heads=2, head_dim=8, conv_bias=True), SWIGLU], {}, "its layers have other weights"
    ),
    "no norms": ([Mamba], {"norm": "none"}, "a model without norms can't be exported"),
    "two eps": ([GLA, SWIGLU], {"norm_eps": 0.5}, "GLAForCausalLM with these weights differs by"),
}  # fmt: skip


@pytest.mark.parametrize(("mixers", "others", "said"), NOT_THEIRS.values(), ids=NOT_THEIRS)
def test_a_model_that_others_do_not_have_is_refused_with_its_layer(mixers, others, said):
    torch.manual_seed(0)
    model = SequenceModel(11, 16, [Stage(mixers)], embedding="learned", **others)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    with pytest.raises(UserError) as refused:
        as_causal_model(model)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_another_class_of_model_is_refused():
    with pytest.raises(UserError, match="a model of the class BottleneckModel can't be exported; transformers and fla"):
        as_causal_model(BottleneckModel(11, 16, [Stage([Mamba])], mark=3))
