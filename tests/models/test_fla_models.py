"""fla's whole models on a CPU: a step with fla's own loss, decoding with their caches, and `generate`."""

import logging
import sys
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.ops.fla_cpu import install

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")
VOCABULARY = 20
_SIZES = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2}
_SIZE = {**_SIZES, "intermediate_size": 48}
_HEADS = {**_SIZE, "num_heads": 2}
_HEAD_DIM = {**_HEADS, "head_dim": 16}
_MAMBA = {**_SIZES, "head_dim": 16, "state_size": 16}
_WINDOW = {"num_heads": 2, "num_kv_heads": 2, "qkv_bias": False, "window_size": 8, "rope_theta": 10000.0}
MODELS: dict[str, dict[str, Any]] = {
    "ABC": {**_HEADS, "num_slots": 8},
    "BitNet": _HEADS,
    "CAT": _HEADS,
    "Comba": _HEAD_DIM,
    "CyclicFlowAttention": {**_HEAD_DIM, "num_slots": 8},
    "DeltaFormer": _HEADS,
    "DeltaNet": _HEADS,
    "ForgettingTransformer": _HEADS,
    "GLA": _HEADS,
    "GSA": {**_HEADS, "num_slots": 8},
    "GatedDeltaNet": _HEAD_DIM,
    "GatedDeltaProduct": _HEAD_DIM,
    "HGRN": _SIZE,
    "HGRN2": {**_HEADS, "expand_ratio": 16},
    "KDA": _HEAD_DIM,
    "LightNet": {**_HEADS, "gate_low_rank_dim": 8},
    "LinearAttention": _HEADS,
    "LogLinearMamba2": {**_MAMBA, "num_heads": 4},
    "MLA": {
        **_HEADS, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "qk_head_dim": 16, "v_head_dim": 16, "kv_lora_rank": 8,
        "q_lora_rank": 8,
    },
    "Mamba": {**_SIZES, "state_size": 8},
    "Mamba2": {**_MAMBA, "num_heads": 4},
    "Mamba3": _MAMBA,
    "MesaNet": _HEAD_DIM,
    "MoBA": {**_HEAD_DIM, "moba_chunk_size": 8},
    "Mom": {**_HEAD_DIM, "num_memories": 2},
    "NSA": {**_HEAD_DIM, "num_heads": 16, "num_kv_heads": 1, "block_size": 8, "window_size": 8},
    "PaTHAttention": _HEADS,
    "Parallax": _HEADS,
    "PrecondGatedDeltaNet": _HEAD_DIM,
    "PrecondKDA": _HEAD_DIM,
    "RWKV6": _HEADS,
    "RWKV7": {**_SIZE, "head_dim": 16},
    "Raven": {**_HEADS, "num_slots": 8, "topk": 4},
    "RetNet": _HEADS,
    "Rodimus": {
        **_SIZE, "expand_ratio": 16, "residual_in_fp32": False,
        "ska_attn": {**_WINDOW, "qk_norm": False},
    },
    "Samba": {**_SIZES, "state_size": 8, "attn": {**_WINDOW, "layers": (1,)}},
    "StickBreakingAttention": _HEADS,
    "Transformer": _HEADS,
    "WallTransformer": _HEADS,
    "YOCO": {
        **_SIZE, "num_self_decoder_layers": 1,
        "self_decoder_attn": {"num_heads": 2, "head_dim": 16, "expand_v": 1.0},
        "cross_decoder_attn": {"num_heads": 2},
    },
}  # fmt: skip
WITHOUT_CACHE = {"CAT", "DeltaFormer", "StickBreakingAttention"}  # fla's own code refuses one, or ignores it
WITHOUT_MASK = {"WallTransformer"}  # fla's layer takes no mask after the first call, and `generate` gives one
# In training one draws the length of its chunks, one balances its memories, and one adds noise to its routes.
OTHER_LOSS = {"CAT", "Mom", "Raven"}
QUICK = {"CyclicFlowAttention", "GLA", "LogLinearMamba2", "Mamba3", "MesaNet", "Transformer"}


@pytest.fixture(params=[name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODELS])
def name(request):
    return request.param


@pytest.fixture
def model(name):
    logging.disable(logging.WARNING)  # fla's advice on other packages
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        install()
        import fla.models
        from transformers import AutoModelForCausalLM

        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(getattr(fla.models, f"{name}Config")(**MODELS[name]))
    model.generation_config.eos_token_id = None
    return model


def draw(time: int) -> Tensor:
    return torch.randint(1, VOCABULARY, (2, time), generator=torch.Generator().manual_seed(time))


def test_a_step_has_a_gradient_for_every_weight_and_the_loss_of_pytorch(model, name):
    tokens = draw(19)
    found = model(input_ids=tokens, labels=tokens)
    found.loss.backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())
    if name in OTHER_LOSS:
        return
    with torch.no_grad():
        logits = model(input_ids=tokens, use_cache=False).logits
    expected = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    torch.testing.assert_close(found.loss.detach(), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_decoding_with_the_cache_and_generating_give_what_the_whole_gives(model, name):
    model.eval()
    tokens = draw(15)
    whole = model(input_ids=tokens, use_cache=False).logits
    if name not in WITHOUT_CACHE:
        found = model(input_ids=tokens[:, :9], use_cache=True)
        logits = [found.logits]
        for token in tokens[:, 9:].split(1, 1):
            found = model(input_ids=token, past_key_values=found.past_key_values, use_cache=True)
            logits.append(found.logits)
        torch.testing.assert_close(torch.cat(logits, 1), whole, rtol=1e-4, atol=1e-5)
    if name in WITHOUT_MASK:
        return
    prompt = expected = tokens[:, :5]
    for _ in range(4):
        chosen = model(input_ids=expected, use_cache=False).logits[:, -1].argmax(-1, keepdim=True)
        expected = torch.cat([expected, chosen], 1)
    options = {"attention_mask": torch.ones_like(prompt), "max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(model.generate(prompt, **options, use_cache=name not in WITHOUT_CACHE), expected)


def test_every_model_of_fla_is_in_the_matrix():
    import fla.models

    assert {f"{name}Config" for name in MODELS} == {one for one in fla.models.__all__ if one.endswith("Config")}
