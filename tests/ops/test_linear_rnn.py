"""The linear recurrence by doubling against the one step by step, in float64."""

import pytest
import torch

from lit_retrieval.ops import linear_rnn
from lit_retrieval.ops.linear_rnn import linear_rnn_doubling, linear_rnn_naive

BATCH, DIM = 2, 6


@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("shape", [(DIM,), (DIM, DIM)])
@pytest.mark.parametrize("time", [1, 2, 63, 64, 100, 130])
def test_doubling_agrees_with_steps(time, shape, with_state):
    generator = torch.Generator().manual_seed(time)
    A = torch.rand(shape, generator=generator, dtype=torch.float64) * (0.95 if len(shape) == 1 else 0.3)
    u = torch.randn(BATCH, time, DIM, generator=generator, dtype=torch.float64)
    tensors = [u, A, *([torch.randn(BATCH, DIM, generator=generator, dtype=torch.float64)] if with_state else [])]
    tensors = [tensor.requires_grad_() for tensor in tensors]
    results = [run(*tensors) for run in (linear_rnn_doubling, linear_rnn_naive)]
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)
    weights = torch.linspace(-1, 1, u.numel(), dtype=u.dtype).view(u.shape)
    actual, expected = (torch.autograd.grad((one * weights).sum(), tensors, materialize_grads=True) for one in results)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_wrong_shapes_are_named():
    u = torch.zeros(BATCH, 3, DIM)
    with pytest.raises(ValueError, match=r"A has shape \(5,\)"):
        linear_rnn(u, torch.zeros(5))
    with pytest.raises(ValueError, match="no step at all"):
        linear_rnn(u[:, :0], torch.zeros(DIM))
