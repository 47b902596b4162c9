"""fla's layers as mixers: decoding, states, and what a user sees of them."""

import inspect
import sys

import pytest
import torch
from fla_layers import HIDDEN_SIZE, SMALL, make_layer
from torch import nn

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import FlaLayer, FlaState, Mamba, as_mixer, select_rows, tensors_of, without_states
from lit_retrieval.ops.arrays import refuse_second_derivatives

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")
NUMBERS = {  # heads * key_dim * value_dim, and the last inputs of every convolution
    "LinearAttention": 2 * 16 * 16,
    "MultiScaleRetention": 2 * 16 * 32,
    "SimpleGatedLinearAttention": 2 * 16 * 16 + 4 * 3 * 32,
    "GatedLinearAttention": 2 * 8 * 16,
    "HGRN2Attention": 2 * 16 * 16,
    "DeltaNet": 2 * 16 * 16 + 4 * 3 * 32,
    "GatedDeltaNet": 2 * 16 * 16 + 4 * 3 * 32,
    "KimiDeltaAttention": 2 * 16 * 16 + 4 * 3 * 32,
    "Mamba": 64 * 8 + 4 * 64,
    "Mamba2": 4 * 16 * 16 + 4 * (64 + 16 + 16),
    "RWKV7Attention": 2 * 16 * 16 + 32,
}
ROWS = {  # heads, times key_dim where each key decays by itself
    "MultiScaleRetention": 2, "SimpleGatedLinearAttention": 2, "GatedLinearAttention": 2 * 8, "HGRN2Attention": 2 * 16,
    "GatedDeltaNet": 2, "KimiDeltaAttention": 2 * 16, "Mamba2": 4, "RWKV7Attention": 2 * 16,
}  # fmt: skip


def make(name: str) -> nn.Module:
    if name != "Mamba":
        return make_layer(name)
    from fla.layers import Mamba as FlaMamba

    torch.manual_seed(0)
    return FlaMamba(hidden_size=HIDDEN_SIZE, state_size=8, intermediate_size=2 * HIDDEN_SIZE, layer_idx=0)


@pytest.fixture(params=[*SMALL, "Mamba"])
def name(request):
    return request.param


@pytest.fixture
def mixer(name):
    return FlaLayer(make(name)).eval()


@pytest.mark.parametrize("with_gradients", [False, True])
@pytest.mark.parametrize("lengths", [[1] * 12, [5, 1, 1, 70, 1], [39, 39]])
def test_parts_of_any_length_equal_the_whole(mixer, lengths, with_gradients):
    x = torch.randn(2, sum(lengths), HIDDEN_SIZE, generator=torch.Generator().manual_seed(2))
    with torch.set_grad_enabled(with_gradients):
        y, whole = mixer(x)
        parts, state = [], None
        for part in x.split(lengths, 1):
            part_y, state = mixer(part, state)
            parts.append(part_y)
    torch.testing.assert_close(torch.cat(parts, 1), y, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(state.recurrent, whole.recurrent, rtol=1e-4, atol=1e-4)
    assert state.length == len(x[0])


@torch.inference_mode()
def test_rows_may_leave_between_two_steps(mixer):
    x, rows = torch.randn(4, 9, HIDDEN_SIZE), torch.tensor([3, 1])
    y, _ = mixer(x)
    _, state = mixer(x[:, :6])
    _, state = mixer(x[:, 6:7], state)
    kept, _ = mixer(x[rows, 7:], select_rows(state, rows))
    torch.testing.assert_close(kept, y[rows, 7:], rtol=1e-4, atol=1e-4)


def test_state_size_counts_a_real_state(mixer, name):
    assert mixer.state_size(3) == mixer.state_size(70) == NUMBERS[name]


@pytest.mark.parametrize("time", [1, 5, 70])
@torch.inference_mode()
def test_a_decay_is_shown_where_there_is_one(mixer, name, time):
    maps = mixer.inspect(torch.randn(1, time, HIDDEN_SIZE))
    assert {kind: tuple(one.shape) for kind, one in maps.items()} == (
        {"decay": (1, ROWS[name], time)} if name in ROWS else {}
    )
    assert all(one.min() >= 0 and one.max() <= 1 for one in maps.values())


def test_a_decay_is_shown_in_float32_whatever_the_layers_numbers():
    x, mixer = torch.randn(1, 9, HIDDEN_SIZE), FlaLayer(make("KimiDeltaAttention"))
    expected = mixer.inspect(x)["decay"]
    torch.testing.assert_close(mixer.double().inspect(x.double())["decay"], expected)
    assert all(parameter.dtype == torch.float64 for parameter in mixer.parameters())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_decay_of_a_layer_on_a_gpu_is_that_on_a_cpu(mixer):
    x = torch.randn(1, 70, HIDDEN_SIZE)
    expected, shown = mixer.inspect(x), mixer.cuda().inspect(x.cuda())
    torch.testing.assert_close(shown, expected)
    assert all(parameter.is_cuda for parameter in mixer.parameters())


def test_every_parameter_gets_a_gradient(mixer):
    mixer(torch.randn(2, 20, HIDDEN_SIZE))[0].square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in mixer.parameters())


def test_second_derivatives_through_kernels_of_others_are_an_error():
    """On a GPU every output of an fla layer has this; here it is put on one of PyTorch's, which would have them."""
    x = torch.randn(3, requires_grad=True)
    y, untracked = x.square(), torch.zeros(2)
    refuse_second_derivatives([y, untracked])
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x, retain_graph=True)[0], 2 * x)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_second_derivatives_through_flas_kernels_are_an_error(mixer):
    x = torch.randn(1, 5, HIDDEN_SIZE, device="cuda", requires_grad=True)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(mixer.cuda()(x)[0].square().sum(), x, create_graph=True)


def test_steps_on_a_gpu_equal_the_whole(mixer):
    x = torch.randn(2, 9, HIDDEN_SIZE)
    y, _ = mixer(x)
    _, state = mixer(x[:, :4])
    rest, state = mixer._in_steps(x[:, 4:], state)
    torch.testing.assert_close(rest, y[:, 4:], rtol=1e-4, atol=1e-4)
    assert state.length == 9


def test_a_later_rwkv7_layer_stands_alone():
    from fla.layers import RWKV7Attention

    mixer = FlaLayer(RWKV7Attention(hidden_size=HIDDEN_SIZE, layer_idx=3, num_hidden_layers=6, head_dim=16))
    y, state = mixer(torch.randn(2, 7, HIDDEN_SIZE))
    assert y.shape == (2, 7, HIDDEN_SIZE) and isinstance(state, FlaState)
    assert not any("v_lora" in part for part, _ in mixer.named_parameters())


def test_a_layer_of_fla_is_wrapped_and_a_mixer_is_not():
    mamba = Mamba(HIDDEN_SIZE, 0)
    assert as_mixer(mamba) is mamba
    assert isinstance(as_mixer(make_layer("GatedLinearAttention")), FlaLayer)


@pytest.mark.parametrize("activation", ["silu", "gelu"])
@pytest.mark.parametrize(("name", "method"), [("Mamba", "slow_forward"), ("Mamba2", "torch_forward")])
def test_mambas_on_a_cpu_agree_with_flas_own_code(name, method, activation, monkeypatch):
    from fla.modules.activations import ACT2FN

    mixer = FlaLayer(make(name)).double()
    mixer.layer.activation, mixer.layer.act = activation, ACT2FN[activation]
    mixer.layer.rmsnorm = False  # Mamba-2's norm is a Triton kernel
    trained = [parameter for part, parameter in mixer.named_parameters() if "norm" not in part]
    x = torch.randn(2, 9, HIDDEN_SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def run():
        first, rest = x[:, :8].clone().requires_grad_(), x[:, 8:]
        y, state = mixer(first)
        z, last = mixer(rest, state)
        loss = sum(one.square().sum() for one in (y, z, *tensors_of(last)))
        return [y, z, *tensors_of(last), *torch.autograd.grad(loss, [first, *trained])]

    ours = run()
    kind = type(mixer.layer)
    monkeypatch.setattr(kind, method, inspect.unwrap(getattr(kind, method)))
    for mine, theirs in zip(ours, run(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)  # fla multiplies parts of it in float32


def test_weights_of_our_mamba_and_flas_move_both_ways():
    ours, theirs = Mamba(HIDDEN_SIZE, 0, state_dim=8), make("Mamba").eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 11, HIDDEN_SIZE)
    torch.testing.assert_close(ours(x)[0], theirs(x)[0], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(x)[0], theirs(x)[0], rtol=1e-4, atol=1e-5)


class Uncached(nn.Module):
    """A layer with fla's arguments that does not use its cache as fla's layers do."""

    def __init__(self, hidden_size: int, is_by_position: bool) -> None:
        super().__init__()
        self.hidden_size, self.is_by_position = hidden_size, is_by_position
        self.v_lora = nn.Linear(hidden_size, hidden_size)

    def forward(self, x, past_key_values=None, use_cache=False):
        if past_key_values is not None and self.is_by_position:
            x, _ = past_key_values.update(x, x, 0)
        return self.v_lora(x), None, past_key_values


@pytest.mark.parametrize("is_by_position", [False, True])
def test_a_layer_that_does_not_hand_on_its_state_is_told(is_by_position):
    mixer = as_mixer(Uncached(8, is_by_position))
    with pytest.raises(UserError, match=r"Uncached must call past_key_values\.update\(recurrent_state=.*; or leave"):
        mixer(torch.zeros(1, 3, 8))
    with without_states():  # only fla's RWKV-7 has its v_lora removed
        assert mixer(torch.zeros(1, 3, 8))[0].shape == (1, 3, 8)
