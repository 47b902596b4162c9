"""Mamba against its equation, its state, and the names that other packages use."""

import pytest
import torch
from torch.nn import functional as F

from lit_retrieval.mixers import Mamba

NAMES_IN_MAMBA_SSM = {
    "A_log": (64, 8), "D": (64,), "in_proj.weight": (128, 32), "conv1d.weight": (64, 1, 4), "conv1d.bias": (64,),
    "x_proj.weight": (18, 64), "dt_proj.weight": (64, 2), "dt_proj.bias": (64,), "out_proj.weight": (32, 64),
}  # fmt: skip


OPTIONS = {"usual": {}, "other biases and rank": {"bias": True, "conv_bias": False, "dt_rank": 5}}


@pytest.fixture
def mamba():
    torch.manual_seed(0)
    return Mamba(hidden_size=32, layer_idx=0, state_dim=8)


def test_parameters_are_named_as_in_mamba_ssm(mamba):
    assert {name: tuple(tensor.shape) for name, tensor in mamba.state_dict().items()} == NAMES_IN_MAMBA_SSM


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_output_equals_the_equations_written_out(options):
    torch.manual_seed(0)
    mamba = Mamba(hidden_size=32, layer_idx=0, state_dim=8, **options)
    assert [mamba.in_proj.bias is None, mamba.conv1d.bias is None] == [not options, bool(options)]
    x = torch.randn(2, 11, 32)
    inner, gate = mamba.in_proj(x).chunk(2, -1)
    inner = F.silu(mamba.conv1d(F.pad(inner.transpose(1, 2), (3, 0)))).transpose(1, 2)
    dt, B, C = mamba.x_proj(inner).split([mamba.dt_rank, 8, 8], -1)
    dt, A = F.softplus(mamba.dt_proj(dt)), -mamba.A_log.exp()
    h, outputs = torch.zeros(2, 64, 8), []
    for t in range(11):
        h = torch.exp(dt[:, t, :, None] * A) * h + (dt[:, t] * inner[:, t])[:, :, None] * B[:, t, None]
        outputs.append((h * C[:, t, None]).sum(-1) + mamba.D * inner[:, t])
    expected = mamba.out_proj(torch.stack(outputs, 1) * F.silu(gate))
    torch.testing.assert_close(mamba(x)[0], expected, rtol=1e-4, atol=1e-5)


def test_step_sizes_start_in_mamba_ssms_range(mamba):
    dt = F.softplus(mamba.dt_proj.bias)
    assert dt.min() > 0.99e-3 and dt.max() < 1.01e-1


def test_parts_of_any_length_equal_the_whole(mamba):
    x = torch.randn(2, 12, 32)
    y, state = mamba(x)
    parts, part_state = [], None
    for part in x.split([1, 1, 5, 2, 3], 1):
        part_y, part_state = mamba(part, part_state)
        parts.append(part_y)
    torch.testing.assert_close(torch.cat(parts, 1), y, rtol=1e-4, atol=1e-5)
    for actual, expected in zip(part_state, state, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_state_size_counts_a_real_state(mamba):
    _, state = mamba(torch.randn(1, 7, 32))
    assert mamba.state_size(7) == sum(tensor.numel() for tensor in state) == (3 + 8) * 64


def test_every_parameter_gets_a_gradient(mamba):
    mamba(torch.randn(2, 5, 32))[0].square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in mamba.parameters())
