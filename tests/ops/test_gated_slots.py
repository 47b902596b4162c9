"""Sums of exponentials, of which LightNet's gates are made."""

import pytest
import torch

from lit_retrieval.ops.fla_cpu.gated_slots import additive_gate


@pytest.mark.parametrize("slope", [-3.0, 0.0, 3.0])
@pytest.mark.parametrize("has_state", [False, True])
def test_the_gates_of_numbers_of_any_size_are_those_of_logcumsumexp(slope, has_state):
    generator = torch.Generator().manual_seed(0)
    drift = slope * torch.arange(70.0).view(1, -1, 1, 1)
    x = 20 * torch.randn(2, 70, 3, 8, generator=generator) + drift
    first = 10 * torch.randn(2, 1, 3, 8, generator=generator) if has_state else None
    weight = torch.randn(2, 70, 3, 8, generator=generator)
    results = []
    for dtype in (torch.float32, torch.float64):
        inputs = [one.to(dtype).requires_grad_() for one in (x, first) if one is not None]
        found = additive_gate(*inputs) if dtype == torch.float32 else by_definition(*inputs)
        grads = torch.autograd.grad(sum((one * weight).sum() for one in found[:2]), inputs)
        results.append([*found, *grads])
    for ours, right in zip(*results, strict=True):
        torch.testing.assert_close(ours.double(), right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("has_state", [False, True])
def test_the_sum_of_an_empty_sequence_is_the_first_one_or_that_of_no_numbers(has_state):
    x, first = torch.randn(1, 7, 3, 8), torch.randn(3, 1, 3, 8) if has_state else None
    *_, last = additive_gate(x, first, cu_seqlens=torch.tensor([0, 3, 3, 7]))
    assert torch.equal(last[1], torch.full((1, 3, 8), -torch.inf) if first is None else first[1])
    assert torch.equal(last[2:], additive_gate(x[:, 3:], None if first is None else first[2:])[2])


def by_definition(x, first=None):
    both = x if first is None else torch.cat([first, x], 1)
    sums = both.logcumsumexp(1)[:, -x.shape[1] :]
    before = torch.cat([sums[:, :1] if first is None else first, sums[:, :-1]], 1)
    return (x - sums).exp(), before - sums, sums[:, -1:]
