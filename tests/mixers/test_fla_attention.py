"""fla's attention layers as mixers on a CPU: one step of training, decoding in parts, rows that leave, padding."""

import importlib
import logging
import sys
import warnings
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import FlaLayer, select_rows
from lit_retrieval.ops import fla_cpu
from lit_retrieval.ops.fla_cpu.table import FLASH_ATTENTION_USERS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")
HIDDEN_SIZE = 32
_MLA = {
    "num_heads": 2, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 6,
    "qk_head_dim": 10, "v_head_dim": 7,
}  # fmt: skip
_NSA = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 8, "block_size": 4, "block_counts": 4, "window_size": 5}
_MOBA = {"num_heads": 4, "moba_chunk_size": 4, "moba_topk": 3}
LAYERS: dict[str, tuple[str, dict[str, Any]]] = {
    "attention": ("attn.Attention", {"num_heads": 4, "num_kv_heads": 2}),
    "attention, window": ("attn.Attention", {"num_heads": 4, "window_size": 6, "qk_norm": True}),
    "bits": ("bitattn.BitAttention", {"num_heads": 4, "num_kv_heads": 2}),
    "bits, window": ("bitattn.BitAttention", {"num_heads": 4, "window_size": 6}),
    "DeltaFormer": ("deltaformer.DeltaFormerAttention", {"num_heads": 4}),
    "forgetting": ("forgetting_attn.ForgettingAttention", {"num_heads": 4, "num_kv_heads": 2, "qk_norm": True}),
    "forgetting, gate": ("forgetting_attn.ForgettingAttention", {"num_heads": 4, "use_output_gate": True}),
    "latent": ("mla.MultiheadLatentAttention", _MLA),
    "latent, window": ("mla.MultiheadLatentAttention", {**_MLA, "window_size": 6, "q_lora_rank": None}),
    "MoBA": ("moba.MoBA", _MOBA),
    "MoBA, gate": ("moba.MoBA", {**_MOBA, "use_output_gate": True, "qk_norm": True, "num_kv_heads": 2}),
    "NSA": ("nsa.NativeSparseAttention", _NSA),
    "parallax": ("parallax.Parallax", {"num_heads": 4, "num_kv_heads": 2}),
    "parallax, window": ("parallax.Parallax", {"num_heads": 4, "window_size": 6, "qk_norm": True}),
    "PaTH": ("path_attn.PaTHAttention", {"num_heads": 2}),
    "PaTH, gate": (
        "path_attn.PaTHAttention",
        {"num_heads": 2, "num_kv_heads": 1, "use_forget_gate": True, "use_qk_norm": True, "use_low_rank_w": False},
    ),
    "PaTH, no convolution": ("path_attn.PaTHAttention", {"num_heads": 2, "use_w_shortconv": False}),
    "shared key": ("rodimus.SlidingWindowSharedKeyAttention", {"num_heads": 4, "window_size": 6}),
    "stick": ("stickbreaking_attn.StickBreakingAttention", {"num_heads": 4, "num_kv_heads": 2, "qk_norm": True}),
    "wall": ("wall_attn.WallAttention", {"num_heads": 4, "num_kv_heads": 2, "use_scalar_gate": True, "qk_norm": True}),
    "wall, window": ("wall_attn.WallAttention", {"num_heads": 4, "window_size": 6, "use_output_gate": True}),
    "wall, gate and window": ("wall_attn.WallAttention", {"num_heads": 4, "window_size": 6, "use_scalar_gate": True}),
}

# In fla these refuse padding with a cache; MoBA attends to all keys then; the latent one with a window cuts the mask to
# the window, but not the keys.
NO_CACHE_OF_PADDING = {
    "DeltaFormer", "MoBA", "MoBA, gate", "latent, window", "stick", "wall", "wall, window", "wall, gate and window"
}  # fmt: skip


def make(name: str, **more: Any) -> nn.Module:
    """The layer, with its usual weights moved a little at random, so that no gate is wide open."""
    logging.disable(logging.WARNING)  # fla's advice on other packages
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fla_cpu.install()
        path, options = LAYERS[name]
        module, layer = path.split(".")
        torch.manual_seed(0)
        made: nn.Module = getattr(importlib.import_module(f"fla.layers.{module}"), layer)(
            hidden_size=HIDDEN_SIZE, layer_idx=0, **options, **more
        )
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made


@pytest.fixture(params=LAYERS)
def name(request):
    return request.param


@pytest.fixture
def mixer(name):
    return FlaLayer(make(name))


def inputs(batch: int, time: int) -> Tensor:
    return torch.randn(batch, time, HIDDEN_SIZE, generator=torch.Generator().manual_seed(time))


def test_a_step_of_training_gives_every_parameter_a_gradient(mixer):
    optimizer, x = torch.optim.SGD(mixer.parameters(), lr=1e-2), inputs(2, 20)
    loss = mixer(x)[0].square().mean()
    loss.backward()
    for name, parameter in mixer.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name
    optimizer.step()
    assert mixer(x)[0].square().mean() < loss


@pytest.mark.parametrize("with_gradients", [False, True])
def test_parts_equal_the_whole(mixer, with_gradients):
    x, parts, state = inputs(2, 37), [], None
    with torch.set_grad_enabled(with_gradients):
        y, _ = mixer(x)
        for part in x.split([20, 1, 1, 1, 14], 1):
            part_y, state = mixer(part, state)
            parts.append(part_y)
    torch.testing.assert_close(torch.cat(parts, 1), y, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_a_single_token_begins_a_sequence(mixer):
    x = inputs(3, 2)
    y, _ = mixer(x)
    first, state = mixer(x[:, :1])
    second, _ = mixer(x[:, 1:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), y, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_rows_leave_and_repeat(mixer):
    x, rows = inputs(4, 12), torch.tensor([3, 1, 1])
    y, _ = mixer(x)
    _, state = mixer(x[:, :9])
    _, state = mixer(x[:, 9:10], state)
    kept, _ = mixer(x[rows, 10:], select_rows(state, rows))
    torch.testing.assert_close(kept, y[rows, 10:], rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_padding_on_the_left_changes_no_token(mixer, name):
    """In fla the values that DeltaFormer corrects see padding on the left, so there it is on the right."""
    x, mask = inputs(2, 13), torch.ones(2, 13, dtype=torch.long)
    y = mixer.layer(x, attention_mask=None)[0]
    row = x[1:, :9]
    expected = mixer.layer(row, attention_mask=None)[0]
    if name == "DeltaFormer":
        mask[1, 9:], padded, real = 0, torch.cat([row, x[1:, 9:]], 1), slice(0, 9)
    else:
        mask[1, :4], padded, real = 0, torch.cat([x[1:, 9:], row], 1), slice(4, 13)
    actual = mixer.layer(torch.cat([x[:1], padded]), attention_mask=mask)[0]
    torch.testing.assert_close(actual[:1], y[:1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(actual[1:, real], expected, rtol=1e-5, atol=1e-5)
    assert actual[1, mask[1] == 0].abs().max() < 1e-6 or "MoBA" in name


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in NO_CACHE_OF_PADDING])
@torch.no_grad()
def test_decoding_from_flas_cache_goes_on_behind_padding(name):
    from fla.models.utils import Cache

    layer, x, mask, cache = make(name), inputs(2, 12), torch.ones(2, 12, dtype=torch.long), Cache()
    mask[1, :3] = 0
    outputs = []
    for start, stop in pairwise([0, 8, 9, 10, 11, 12]):
        part, seen = x[:, start:stop], mask[:, :stop]
        y, _, cache = layer(part, attention_mask=seen, past_key_values=cache, use_cache=True)
        outputs.append(y)
    actual = torch.cat(outputs, 1)
    torch.testing.assert_close(actual[:1], layer(x[:1], attention_mask=None)[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(actual[1:, 3:], layer(x[1:, 3:], attention_mask=None)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bounds", [[0, 1, 5, 13], [0, 6, 12]], ids=["uneven", "even"])
@torch.inference_mode()
def test_packed_rows_are_sequences_by_themselves(mixer, bounds):
    x = inputs(1, bounds[-1])
    packed = mixer.layer(x, attention_mask=None, cu_seqlens=torch.tensor(bounds, dtype=torch.int32))[0]
    alone = [mixer.layer(x[:, start:stop], attention_mask=None)[0] for start, stop in pairwise(bounds)]
    torch.testing.assert_close(packed, torch.cat(alone, 1), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_sequences_may_be_rows_and_packed_at_once():
    layer, x = make("attention"), inputs(3, 4)
    ends = torch.tensor([0, 1, 4, 8, 12], dtype=torch.int32)
    row = layer(x.view(1, 12, -1), cu_seqlens=ends)[0]
    torch.testing.assert_close(layer(x, cu_seqlens=ends)[0].view_as(row), row)


def test_half_precision_stays_half(mixer):
    x = inputs(2, 9).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = mixer(x.float())
    y.square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in mixer.parameters())
    half, _ = mixer.bfloat16()(x)
    assert y.dtype == half.dtype == torch.bfloat16
    torch.testing.assert_close(half, y, rtol=0.1, atol=0.2)


def test_a_window_that_fla_ignores_in_training_is_refused():
    layer = make("forgetting", window_size=3)
    with pytest.raises(UserError, match="window_size=None"):
        layer(inputs(1, 4))


def test_layers_do_without_flash_attention():
    fla_cpu.install()
    q = torch.randn(1, 4, 2, 8)
    for path in FLASH_ATTENTION_USERS:
        module = importlib.import_module(path)
        assert module.flash_attn_func(q, q, q, causal=True).shape == q.shape
    without = {path for path, module in sys.modules.items() if path.startswith("fla.") and _lacks_flash(module)}
    assert without <= {"fla.ops.deltaformer.parallel", "fla.ops.moba.parallel"}  # ours as a whole


def _lacks_flash(module: object) -> bool:
    return vars(module).get("flash_attn_func", vars(module).get("flash_attn_varlen_func", 0)) is None
