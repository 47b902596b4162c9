"""Pretrained models in folders: what they compute, and which are refused."""

import json
import sys
from pathlib import Path

import pytest
import torch
from pretrained_models import CONFIGS, VOCABULARY, write_folder

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import select_rows, tensors_of, without_states
from lit_retrieval.models import WholeModel, cached_model
from lit_retrieval.pretrained import Folder, weights_sha256

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")
QUICK = ["llama", "gemma3", "mamba", "mamba2", "falcon_h1", "bamba", "olmo_hybrid", "gla"]
# Where fla is installed, transformers imports its kernels for olmo_hybrid, qwen3_next and qwen3_5.
REFUSED = {
    "rwkv": "RwkvForCausalLM in {} must take its cache in an argument past_key_values or cache_params",
    "recurrent_gemma": "RecurrentGemmaForCausalLM in {} must return its cache in past_key_values",
    "minimax": "MiniMaxForCausalLM in {} breaks the rule `rows leave`",
}
FORGETS = {"mamba", "falcon_mamba", "jamba"}  # their state, where several tokens follow it
ALL = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in CONFIGS if name not in REFUSED]


def slow(*values):
    """A longer case."""
    return pytest.param(*values, marks=pytest.mark.slow)


def load(folder: Path, **arguments):
    return Folder(folder, **arguments).load(vocab_size=VOCABULARY).eval()


def difference(actual, expected):
    return float((actual - expected).detach().abs().max() / expected.detach().abs().max())


@pytest.mark.parametrize("architecture", ALL)
@torch.no_grad()
def test_calls_with_a_cache_give_what_transformers_gives_without_one(architecture, tmp_path):
    network = load(write_folder(tmp_path, architecture))
    tokens = torch.randint(VOCABULARY, (3, 29), generator=torch.Generator().manual_seed(1))
    whole = network.model(input_ids=tokens, use_cache=False).logits
    read, state = network(tokens[:, :13])
    pieces = [read]
    for place in range(13, 21):
        logits, state = network(tokens[:, place : place + 1], state)
        pieces.append(logits)
    assert difference(torch.cat(pieces, 1), whole[:, :21]) < 1e-5
    rows = torch.tensor([2, 0, 2])  # one leaves, one is repeated
    rest, _ = network(tokens[rows, 21:], select_rows(state, rows))
    assert difference(rest, whole[rows, 21:]) < 1e-5
    assert network.takes_several == (architecture not in FORGETS)


@pytest.mark.parametrize("architecture", ALL)
@torch.no_grad()
def test_the_head_runs_where_asked_alone_and_the_state_has_the_size_of_the_cache(architecture, tmp_path):
    network = load(write_folder(tmp_path, architecture))
    tokens = torch.arange(2 * 11).view(2, 11)
    whole, state = network(tokens)
    positions, seen = torch.tensor([10, 3, 21]), []
    network.model.get_output_embeddings().register_forward_hook(lambda head, inputs, logits: seen.append(logits.shape))
    with without_states():
        there, nothing = network(tokens, None, positions)
    assert nothing is None and seen == [(1, 3, VOCABULARY)]
    assert difference(there, whole.flatten(0, 1)[positions]) < 1e-5
    sizes = [2 * WholeModel(VOCABULARY, lambda vocab_size: network).state_size(length) for length in (11, 12)]
    assert sizes[0] == sum(tensor.numel() for tensor in tensors_of(state))
    assert (sizes[0] == sizes[1]) == (architecture in {"mamba", "falcon_mamba", "mamba2", "mistral", *FIXED})


FIXED = {"gla", "gated_deltanet", "delta_net", "rwkv7", "kda", "retnet", "hgrn2", "linear_attn", "fla_mamba2"}


@pytest.mark.parametrize("architecture", REFUSED)
def test_a_cache_that_rows_can_not_leave_is_refused_in_one_line(architecture, tmp_path):
    with pytest.raises(UserError) as refused:
        load(write_folder(tmp_path, architecture))
    assert str(refused.value).startswith(REFUSED[architecture].format(tmp_path)) and "\n" not in str(refused.value)


def test_the_cache_of_mamba_under_another_name_would_be_swallowed(tmp_path):
    network = load(write_folder(tmp_path, "mamba"))
    network._cache = "past_key_values"
    with pytest.raises(UserError, match="must return its cache in past_key_values"):
        network(torch.zeros(1, 3, dtype=torch.int64))


@torch.no_grad()
def test_bamba_needs_the_places_of_its_tokens(tmp_path):
    network = load(write_folder(tmp_path, "bamba"))
    tokens = torch.arange(2 * 9).view(2, 9)
    whole, _ = network(tokens)
    network._takes_places = False
    _, state = network(tokens[:, :5])
    assert difference(network(tokens[:, 5:], state)[0], whole[:, 5:]) > 1e-4


@torch.no_grad()
def test_mamba_forgets_its_state_where_several_tokens_follow(tmp_path):
    network = load(write_folder(tmp_path, "mamba"))
    tokens = torch.arange(2 * 9).view(2, 9)
    whole, _ = network(tokens)
    for takes_several in (False, True):
        network.takes_several = takes_several
        _, state = network(tokens[:, :5])
        assert (difference(network(tokens[:, 5:], state)[0], whole[:, 5:]) > 1e-4) == takes_several


def test_logits_are_for_the_tokens_of_the_task(tmp_path):
    folder = write_folder(tmp_path, "llama")
    logits, _ = Folder(folder).load(vocab_size=41)(torch.zeros(1, 3, dtype=torch.int64))
    assert logits.shape == (1, 3, 41)
    with pytest.raises(UserError, match=r"must have the 98 tokens of the task or more, got 97"):
        Folder(folder).load(vocab_size=98)


def test_the_vector_of_the_folders_padding_is_trained_as_that_of_a_word(tmp_path):
    """PyTorch leaves out the row of `padding_idx`, here that of the task's `?`."""
    network = Folder(write_folder(tmp_path, "llama", pad_token_id=2, tie_word_embeddings=False)).load(vocab_size=41)
    network(torch.tensor([[1, 2, 3]]))[0].sum().backward()
    gradient = network.model.get_input_embeddings().weight.grad
    assert (gradient[1:4].abs().sum(1) > 0).all() and not gradient[4:].any()


def test_bfloat16_is_measured_in_float32(tmp_path):
    network = load(write_folder(tmp_path, "falcon_h1"), precision="bfloat16")
    assert network.model.dtype == torch.bfloat16 and network.takes_several


LONGROPE = {
    "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4,
    "original_max_position_embeddings": 16,
}  # fmt: skip


@torch.no_grad()
def test_longrope_has_places_while_its_cache_has_the_angles_of_its_text(tmp_path):
    network = load(write_folder(tmp_path, "llama", max_position_embeddings=64, rope_parameters=LONGROPE))
    assert network.most_places == 16
    tokens = torch.arange(2 * 20).view(2, 20)
    for length, differs in ((16, False), (17, True)):
        whole = network(tokens[:, :length])[0][:, -1]
        _, state = network(tokens[:, : length - 1])
        last = network(tokens[:, length - 1 : length], state)[0][:, -1]
        assert (difference(last, whole) > 1e-4) == differs


@pytest.mark.parametrize(
    ("architecture", "changed", "places"),
    [
        ("llama", {"max_position_embeddings": 64}, 64),
        ("gemma3", {}, 131072),
        ("mamba", {}, None),
        ("gla", {}, None),
        slow("retnet", {}, None),
        ("gla", {"attn": {"layers": [1], "num_heads": 2}}, 2048),
    ],
)
def test_a_recurrence_has_no_longest_text(architecture, changed, places, tmp_path):
    assert load(write_folder(tmp_path, architecture, **changed)).most_places == places


def test_another_number_format_is_refused(tmp_path):
    said = r"^precision must be float32 or bfloat16, got 'bf16'; set model\.pretrained\.init_args\.precision$"
    with pytest.raises(UserError, match=said):
        Folder(tmp_path, precision="bf16")


def test_weights_without_an_adapter_are_named(tmp_path):
    pytest.importorskip("peft")
    folder = write_folder(tmp_path, "jamba")
    with pytest.warns(UserWarning, match=r"^JambaForCausalLM has no adapters beside ") as warned:
        load(folder, lora_rank=2)
    (said,) = {str(one.message) for one in warned if "no adapters" in str(one.message)}
    names = said.removeprefix("JambaForCausalLM has no adapters beside ").removesuffix(", which stay as they are")
    of_experts = {f"model.layers.*.feed_forward.experts.{name}_proj" for name in ("gate_up", "down")}
    assert of_experts < set(names.split(", ")) and not any("self_attn" in name for name in names.split(", "))


def spoil(folder, **changed):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), "there is no "),
        (lambda folder: (folder / "config.json").write_text("{"), "transformers can't load "),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no weights, *.safetensors or *.bin"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "model.gguf"), "model.gguf must be converted"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), "transformers can't load "),
        (lambda folder: spoil(folder, num_hidden_layers=5), "has no weights for model.layers.4."),
        (lambda folder: spoil(folder, architectures=["Own"]), "the class Own of "),
        (lambda folder: spoil(folder, architectures=["LlamaModel"]), "must be a causal language model"),
    ],
    ids=["no config", "no json", "no weights", "gguf", "no safetensors", "missing weights", "own code", "no head"],
)
def test_a_folder_that_can_not_be_loaded_is_one_line(damage, said, tmp_path):
    damage(write_folder(tmp_path, "llama"))
    with pytest.raises(UserError) as refused:
        load(tmp_path)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_code_in_a_folder_is_never_run(tmp_path):
    write_folder(tmp_path, "llama")
    (tmp_path / "own.py").write_text("raise SystemExit('it was run')")
    spoil(tmp_path, auto_map={"AutoModelForCausalLM": "own.Own", "AutoConfig": "own.Config"})
    assert type(load(tmp_path).model).__module__.startswith("transformers.models.llama")


def test_the_hash_is_of_the_weights_and_other_weights_are_refused(tmp_path):
    first, second = write_folder(tmp_path / "a", "llama"), write_folder(tmp_path / "b", "llama")
    known = weights_sha256(first)
    assert known == weights_sha256(second)
    load(second, sha256=known)
    content = bytearray((second / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (second / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="must have the weights with the sha256"):
        load(second, sha256=known)


@pytest.mark.parametrize("is_cast", [False, slow(True)], ids=["weights", "autocast"])
@pytest.mark.parametrize("architecture", ALL)
def test_every_adapter_is_trained_and_nothing_else(architecture, is_cast, tmp_path):
    pytest.importorskip("peft")
    folder = write_folder(tmp_path, architecture)
    if architecture == "fla_mamba2":  # on a CPU its mixer takes the weights as they are
        with pytest.raises(UserError, match="no linear layers for adapters"):
            Folder(folder, lora_rank=2).load(vocab_size=VOCABULARY)
        return
    network = Folder(folder, "float32" if is_cast else "bfloat16", lora_rank=2).load(vocab_size=VOCABULARY)
    trained = {name: one for name, one in network.named_parameters() if one.requires_grad}
    assert trained and all("lora_" in name and one.dtype == torch.float32 for name, one in trained.items())
    with without_states(), torch.autocast("cpu", torch.bfloat16, enabled=is_cast):
        logits, _ = network(torch.arange(2 * 11).view(2, 11))
    logits.float().logsumexp(-1).sum().backward()
    assert all(one.grad is not None and one.grad.any() for name, one in trained.items() if "lora_B" in name)
    assert not any(one.grad is not None for name, one in network.named_parameters() if name not in trained)


@pytest.mark.parametrize(("precision", "is_cast"), [("float32", False), ("bfloat16", False), ("float32", True)])
def test_an_adapter_adds_its_product_and_has_its_gradients(precision, is_cast, tmp_path):
    pytest.importorskip("peft")
    network = Folder(write_folder(tmp_path, "llama"), precision, lora_rank=2).load(vocab_size=VOCABULARY)
    layer = network.model.model.layers[0].mlp.down_proj
    down, up, weight = layer.lora_A["default"].weight, layer.lora_B["default"].weight, layer.base_layer.weight
    torch.nn.init.normal_(up)
    x = torch.randn(2, 5, 64, dtype=weight.dtype, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=is_cast):
        outputs = layer(x)
    found = torch.autograd.grad(outputs.float().square().sum(), [x, down, up])
    merged = weight.double() + 2 * up.double() @ down.double()
    expected = torch.autograd.grad((x.double() @ merged.T).square().sum(), [x, down, up])
    allowed = 0.02 if is_cast or precision == "bfloat16" else 1e-5  # bfloat16 has 8 bits
    assert all(difference(one, other) < allowed for one, other in zip(found, expected, strict=True))
    before = layer(x)
    layer.merge()
    assert difference(layer(x), before) < allowed


@pytest.mark.parametrize("architecture", ["mistral", slow("gemma3_text")])
@torch.no_grad()
def test_a_window_is_read_in_pieces_with_one_head(architecture, tmp_path, monkeypatch):
    network = load(write_folder(tmp_path, architecture))
    tokens, positions, calls = torch.arange(3 * 30).view(3, 30), torch.tensor([29, 40, 62]), []
    whole, last = network(tokens)
    at, _ = network(tokens, None, positions)
    monkeypatch.setattr(cached_model, "_PIECE", 12)  # the window is 8, so pieces have 16
    network.model.register_forward_pre_hook(
        lambda model, arguments, named: calls.append(named["input_ids"].shape[1]), with_kwargs=True
    )
    pieces, state = network(tokens)
    assert calls == [16, 14] and difference(pieces, whole) < 1e-5
    assert all(difference(*pair) < 1e-5 for pair in zip(tensors_of(state), tensors_of(last), strict=True))
    assert difference(network(tokens, None, positions)[0], at) < 1e-5
    with without_states():
        logits, nothing = network(tokens)
    assert nothing is None and difference(logits, whole) < 1e-5


def test_rows_are_read_as_far_as_they_are_asked(tmp_path):
    network = load(write_folder(tmp_path, "llama"))
    tokens, shapes = torch.arange(5 * 19).view(5, 19), []
    positions = torch.tensor([3, 4, 19 + 18, 2 * 19 + 17, 3 * 19 + 5, 3 * 19 + 1])  # of four rows
    expected = torch.autograd.grad(network(tokens, None, positions)[0].square().sum(), network.model.lm_head.weight)
    network.model.register_forward_pre_hook(
        lambda model, arguments, named: shapes.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    with without_states():
        logits, nothing = network(tokens, None, positions)
    assert nothing is None and shapes == [(2, 19), (2, 6)]
    found = torch.autograd.grad(logits.square().sum(), network.model.lm_head.weight)
    assert difference(logits, network(tokens)[0].flatten(0, 1)[positions]) < 1e-5
    assert difference(found[0], expected[0]) < 1e-5


@torch.no_grad()
def test_new_adapters_change_nothing(tmp_path):
    pytest.importorskip("peft")
    folder, tokens = write_folder(tmp_path, "falcon_h1"), torch.arange(11)[None]
    assert torch.equal(load(folder)(tokens)[0], load(folder, lora_rank=2)(tokens)[0])
