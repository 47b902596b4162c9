"""Test-time training and Titans against loops over tokens that take gradients by autograd."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import TTT, Titans


def heads_of(mixer, x: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values of one sample, `(heads, time, head_dim)`."""
    return mixer.qkv_proj(x)[0].view(len(x[0]), mixer.num_heads, -1).transpose(0, 1).chunk(3, -1)


def ttt_steps(mixer: TTT, x: Tensor) -> Tensor:
    """One sample, `(1, time, hidden_size)`, token by token."""
    q, k, v = (one.detach() for one in heads_of(mixer, x))
    rates, dim, outputs = mixer.rate_proj(x)[0].sigmoid(), mixer.head_dim, []

    def norm(y: Tensor) -> Tensor:
        return F.layer_norm(y, (dim,)) * mixer.norm_weight[:, 0] + mixer.norm_bias[:, 0]

    weight, bias, sums = torch.zeros(mixer.num_heads, dim, dim), torch.zeros(mixer.num_heads, dim), (0.0, 0.0)
    for t in range(len(x[0])):
        place, leaves = t % mixer.mini_batch, [weight.detach().requires_grad_(), bias.detach().requires_grad_()]
        learned = norm(torch.einsum("hd,hde->he", k[:, t], leaves[0]) + leaves[1])
        loss = (learned - (v[:, t] - k[:, t])).square().sum() / 2
        sums = [total + grad for total, grad in zip(sums, torch.autograd.grad(loss, leaves), strict=True)]
        rate = rates[t] / (dim * (place + 1))
        stepped = weight - rate[:, None, None] * sums[0], bias - rate[:, None] * sums[1]
        o = torch.einsum("hd,hde->he", q[:, t] / dim**0.5, stepped[0]) + stepped[1]
        outputs.append((o + norm(o)).flatten())
        if place == mixer.mini_batch - 1:
            (weight, bias), sums = stepped, (0.0, 0.0)
    return mixer.out_proj(torch.stack(outputs))[None]


def titans_steps(mixer: Titans, x: Tensor) -> Tensor:
    """The same for Titans."""
    q, k, v = heads_of(mixer, x)
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    rate, share, forgotten = mixer.gates_proj(x)[0].sigmoid().chunk(3, -1)
    memory = momentum = before = torch.zeros(mixer.num_heads, mixer.head_dim, mixer.head_dim)
    outputs = []
    for t in range(len(x[0])):
        before = memory if t % mixer.chunk == 0 else before
        leaf = before.detach().requires_grad_()
        loss = (torch.einsum("hd,hde->he", k[:, t], leaf) - v[:, t]).square().sum() / 2
        (gradient,) = torch.autograd.grad(loss, leaf, retain_graph=True)
        momentum = share[t][:, None, None] * momentum - rate[t][:, None, None] * gradient
        memory = (1 - forgotten[t])[:, None, None] * memory + momentum
        o = torch.einsum("hd,hde->he", q[:, t], memory)
        outputs.append(F.rms_norm(o, o.shape[-1:], mixer.norm, 1e-5).flatten())
    return mixer.out_proj(torch.stack(outputs))[None]


@pytest.mark.parametrize("time", [1, 5, 6, 17])
@pytest.mark.parametrize(("mixer", "steps"), [(TTT(16, 0, 2, 6), ttt_steps), (Titans(16, 0, 2, 6), titans_steps)])
def test_a_memory_takes_the_gradients_of_its_loss(mixer, steps, time):
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) / 2)
    x = torch.randn(1, time, 16, generator=torch.Generator().manual_seed(time))
    torch.testing.assert_close(mixer(x)[0], steps(mixer, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [TTT, Titans])
def test_heads_must_divide_the_width(kind):
    with pytest.raises(UserError, match="hidden_size must be a multiple of num_heads=3, got 16"):
        kind(16, 0, num_heads=3)
