"""What every mixer of ours promises: it is its own float64 steps, in parts as in the whole, and counts its state."""

from functools import partial

import pytest
import torch
from mixer_cases import HIDDEN_SIZE, MIXERS, make_mixer
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lit_retrieval.mixers import ReGLU, select_rows, tensors_of

NUMBERS = {  # in the state after 3 and after 9 tokens
    "attention": (96, 288), "window": (96, 128), "window of one": (0, 0), "Mamba": (224, 224), "linear RNN": (16, 16),
    "attention, ALiBi": (96, 288), "window, ALiBi, grouped": (48, 64), "window, no positions": (96, 128),
    "diagonal linear RNN": (16, 16), "Canon": (48, 48), "LSTM": (24, 24), "GRU": (12, 12), "TTT": (288, 288),
    "Titans": (384, 384),
    "grouped attention beside Mamba": (272, 368), "linear RNN beside a window": (112, 144), "SwiGLU": (0, 0),
    "ReGLU": (0, 0),
}  # fmt: skip
TOLERANCE = 1e-4  # float32 rounds to 6e-8; sums over all steps and channels lose up to three digits


@pytest.fixture(params=MIXERS)
def name(request):
    return request.param


def run_in_steps(mixer: nn.Module, x: Tensor, state):
    outputs = []
    for step in x.split(1, 1):
        y, state = mixer(step, state)
        outputs.append(y)
    return torch.cat(outputs, 1), state


def with_gradients(mixer: nn.Module, run, x: Tensor, before: Tensor | None) -> dict[str, Tensor]:
    """Outputs, last state, and the gradients of a loss on both for inputs, parameters and the first state."""
    x = x.clone().requires_grad_()
    first_state = None if before is None else mixer(before.clone().requires_grad_())[1]
    states = enumerate(tensors_of(first_state))
    first = {f"first state {place}": tensor for place, tensor in states if tensor.requires_grad}
    y, state = run(x, first_state)
    last = {f"state {place}": tensor for place, tensor in enumerate(tensors_of(state))}
    weighted = [
        one * torch.linspace(-1, 2, one.numel(), dtype=one.dtype).view(one.shape) for one in [y, *last.values()]
    ]
    named = {"inputs": x, **first, **dict(mixer.named_parameters())}
    grads = torch.autograd.grad(sum(one.sum() for one in weighted), list(named.values()), materialize_grads=True)
    return {"outputs": y, **last, **dict(zip(named, grads, strict=True))}


@pytest.mark.parametrize("times", [(1, 65), pytest.param((2, 63, 64, 100, 130), marks=pytest.mark.slow)], ids=str)
def test_a_run_agrees_with_float64_steps(name, times):
    mixer, exact = make_mixer(name), make_mixer(name).double()
    generator = torch.Generator().manual_seed(1)
    for time in times:
        x, before = (torch.randn(2, steps, HIDDEN_SIZE, generator=generator) for steps in (time, 5))
        for prefix in (None, before):
            actual = with_gradients(mixer, mixer, x, prefix)
            in_double = None if prefix is None else prefix.double()
            expected = with_gradients(exact, partial(run_in_steps, exact), x.double(), in_double)
            assert actual.keys() == expected.keys()
            for part, wanted in expected.items():
                limit = TOLERANCE * max(1.0, float(wanted.detach().abs().max())) if wanted.numel() else 0.0
                assert wanted.shape == actual[part].shape
                assert not wanted.numel() or (actual[part] - wanted).abs().max() <= limit, (part, time)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("lengths", [[1] * 12, [5, 1, 3, 1, 2], [6, 6]])
def test_parts_of_any_length_equal_the_whole(name, lengths, grad):
    mixer, x = make_mixer(name), torch.randn(2, 12, HIDDEN_SIZE)
    with torch.set_grad_enabled(grad):
        y, _ = mixer(x)
        parts, state = [], None
        for part in x.split(lengths, 1):
            part_y, state = mixer(part, state)
            parts.append(part_y)
    torch.testing.assert_close(torch.cat(parts, 1), y, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_rows_may_leave_between_two_steps(name):
    mixer, x, rows = make_mixer(name), torch.randn(4, 9, HIDDEN_SIZE), torch.tensor([3, 1])
    y, _ = mixer(x)
    _, state = mixer(x[:, :7])
    kept, _ = mixer(x[rows, 7:], select_rows(state, rows))
    torch.testing.assert_close(kept, y[rows, 7:], rtol=1e-4, atol=1e-5)


def test_state_size_counts_a_real_state(name):
    mixer = make_mixer(name)
    for length, numbers in zip((3, 9), NUMBERS[name], strict=True):
        _, state = mixer(torch.randn(1, length, HIDDEN_SIZE))
        assert mixer.state_size(length) == sum(tensor.numel() for tensor in tensors_of(state)) == numbers


def test_every_parameter_gets_a_gradient(name):
    mixer = make_mixer(name)
    mixer(torch.randn(2, 5, HIDDEN_SIZE))[0].square().sum().backward()
    unused = {"window of one": "qkv_proj.weight"}.get(name)
    assert all(one.grad.abs().sum() > 0 for part, one in mixer.named_parameters() if part != unused)


def test_second_derivatives_are_right_or_an_error(name):
    def penalty(mixer: nn.Module, x: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        grad = torch.autograd.grad(mixer(x)[0].square().sum(), x, create_graph=True)[0]
        grads = torch.autograd.grad(grad.square().sum(), list(mixer.parameters()), materialize_grads=True)
        return torch.cat([one.flatten().double() for one in grads])

    x = torch.randn(2, 9, HIDDEN_SIZE, generator=torch.Generator().manual_seed(1))
    with sdpa_kernel(SDPBackend.MATH):  # PyTorch's other kernels have no second derivatives, and say so
        expected = penalty(make_mixer(name).double(), x.double())
    try:
        actual = penalty(make_mixer(name), x)
    except RuntimeError as error:
        assert "second derivatives" in str(error) or "is not implemented" in str(error)
    else:
        assert (actual - expected).norm() <= 1e-4 * expected.norm()


def test_a_window_sees_its_tokens_alone():
    mixer, x = make_mixer("window"), torch.randn(1, 12, HIDDEN_SIZE)
    changed = torch.cat([torch.randn(1, 4, HIDDEN_SIZE), x[:, 4:]], 1)
    y, other = mixer(x)[0], mixer(changed)[0]
    assert torch.allclose(y[:, 8:], other[:, 8:], atol=1e-6) and not torch.allclose(y[:, 7], other[:, 7], atol=1e-4)


def test_reglu_equals_its_equation_and_can_multiply():
    mixer = ReGLU(hidden_size=2, layer_idx=0, intermediate_size=2)
    with torch.no_grad():
        for projection in (mixer.gate_proj, mixer.up_proj, mixer.down_proj):
            projection.weight.zero_()
            projection.bias.zero_()
        # x y = relu(x) y - relu(-x) y
        mixer.gate_proj.weight[:, 0] = torch.tensor([1.0, -1.0])
        mixer.up_proj.weight[:, 1] = 1.0
        mixer.down_proj.weight[0] = torch.tensor([1.0, -1.0])
    x = torch.randn(1, 20, 2)
    torch.testing.assert_close(mixer(x)[0][..., 0], x[..., 0] * x[..., 1])


@pytest.mark.parametrize("name", [name for name in MIXERS if name not in ("LSTM", "GRU")])  # PyTorch compiles no RNNs
def test_a_compiler_sees_the_whole_mixer(name):
    mixer, x = make_mixer(name), torch.randn(2, 9, HIDDEN_SIZE)
    torch.compiler.reset()
    compiled = torch.compile(mixer, fullgraph=True, backend="eager")
    y, _ = compiled(x)
    torch.testing.assert_close(y, mixer(x)[0], rtol=1e-4, atol=1e-5)
    y.sum().backward()
