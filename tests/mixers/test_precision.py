"""Every mixer in every number format: outputs, gradients and cached steps are those of float64, up to rounding."""

import sys
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from fla_layers import SMALL, make_layer
from mixer_cases import HIDDEN_SIZE, MIXERS, make_mixer
from torch import Tensor, nn

from lit_retrieval.mixers import FlaLayer, FlaState, tensors_of

# The dtype of the weights, and that of autocast; Lightning takes 16-mixed on a GPU only.
PRECISIONS = {
    "float64": (torch.float64, None), "float32": (torch.float32, None), "bfloat16": (torch.bfloat16, None),
    "float16": (torch.float16, None), "bf16-mixed": (torch.float32, torch.bfloat16),
    "16-mixed": (torch.float32, torch.float16),
}  # fmt: skip
ON_A_GPU = [
    pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
]  # fmt: skip
NAMES = [*MIXERS, *(SMALL if sys.platform == "linux" else ())]
CASES = [(name, precision, "cpu") for name in NAMES for precision in PRECISIONS if precision != "16-mixed"] + [
    pytest.param(name, precision, "cuda", marks=ON_A_GPU) for name in MIXERS for precision in PRECISIONS
]
RECURRENT = {"Mamba", "Canon", "linear RNN", "diagonal linear RNN", "LSTM", "GRU", "TTT", "Titans"}
UNSEEN = 5  # first positions, left out of the loss: where few keys are mixed, a norm's gradient may be all rounding
LIMITS = {"outputs": 6, "steps": 6}  # in units of the format's rounding; at most 3 were measured
GRADIENT_LIMIT = 16  # the same, of gradients; 10 were measured, of a decay's parameter


def make(name: str) -> nn.Module:
    return FlaLayer(make_layer(name)) if name in SMALL else make_mixer(name)


def run(mixer: nn.Module, x: Tensor, autocast) -> dict[str, Tensor]:
    """Outputs, the gradients of a loss on them, and the outputs of two steps after a prefill; and the last state."""
    x = x.clone().requires_grad_()
    with autocast():
        y, _ = mixer(x)
    weights = torch.linspace(-1, 2, y.numel(), dtype=torch.float64, device=y.device).view(y.shape)
    named = {"inputs": x, **dict(mixer.named_parameters())}
    loss = (y.double() * weights)[:, UNSEEN:].sum()
    grads = torch.autograd.grad(loss, list(named.values()), materialize_grads=True)
    steps = []
    with autocast(), torch.no_grad():
        _, state = mixer(x[:, :-2])
        for step in x[:, -2:].split(1, 1):
            step_y, state = mixer(step, state)
            steps.append(step_y)
    values = {"outputs": y.detach(), "steps": torch.cat(steps, 1), **dict(zip(named, grads, strict=True))}
    return values | {"state": state}


@pytest.mark.parametrize(("name", "precision", "device"), CASES)
def test_a_mixer_is_its_own_in_float64_up_to_rounding(name, precision, device):
    dtype, half = PRECISIONS[precision]
    mixer, exact = make(name).to(device, dtype), make(name).to(device)
    exact.load_state_dict(mixer.state_dict())
    hidden_size = mixer.layer.hidden_size if name in SMALL else HIDDEN_SIZE
    x = torch.randn(2, 21, hidden_size, generator=torch.Generator().manual_seed(1)).to(device, dtype)
    autocast = nullcontext if half is None else partial(torch.autocast, device, half)
    actual, expected = run(mixer, x, autocast), run(exact.double(), x.double(), nullcontext)
    assert actual["outputs"].dtype == actual["steps"].dtype == (half or dtype)
    for part, wanted in expected.items():
        if part != "state":
            limit = LIMITS.get(part, GRADIENT_LIMIT) * torch.finfo(half or dtype).eps
            assert (actual[part] - wanted).norm() <= limit * wanted.norm(), part
    is_recurrent = name in RECURRENT or isinstance(actual["state"], FlaState)
    state = actual["state"].recurrent if isinstance(actual["state"], FlaState) else actual["state"]
    if is_recurrent:  # what is added up in half precision would soon stop to grow
        kept = torch.float64 if dtype == torch.float64 else torch.float32
        assert tensors_of(state) and all(one.dtype == kept for one in tensors_of(state))


@pytest.mark.parametrize("precision", ["bfloat16", "bf16-mixed"])
def test_the_scan_of_half_precision_is_the_fast_one(monkeypatch, precision):
    dtype, half = PRECISIONS[precision]
    monkeypatch.setattr(sys.modules["lit_retrieval.ops.selective_scan"], "selective_scan_naive", None)
    mamba, x = make_mixer("Mamba").to(dtype), torch.randn(2, 9, HIDDEN_SIZE).to(dtype)
    with nullcontext() if half is None else torch.autocast("cpu", half):
        y, _ = mamba(x)
    assert y.shape == x.shape and y.isfinite().all()  # the naive form, which is None here, would have raised
