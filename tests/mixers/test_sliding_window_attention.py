"""Blocks of the window: the masked full attention, with memory that grows with the length and not with its square."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lit_retrieval.mixers import Attention, SlidingWindowAttention

HIDDEN_SIZE = 16


class CountElements(TorchDispatchMode):
    """Adds up the elements of all results, views included: an upper bound on the memory that is held at one time."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        results = func(*args, **(kwargs or {}))
        self.total += sum(one.numel() for one in tree_leaves(results) if isinstance(one, torch.Tensor))
        return results


def make(window: int, position: str = "rope") -> SlidingWindowAttention:
    torch.manual_seed(0)
    mixer = SlidingWindowAttention(HIDDEN_SIZE, 0, window, num_heads=2, position=position).double()
    for parameter in mixer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return mixer


# Lengths around two windows, from where there are blocks, and around whole numbers of blocks.
@pytest.mark.parametrize("window", [1, 2, 3, 8])
@pytest.mark.parametrize("before", [0, 1, 5, 20])
@pytest.mark.parametrize("position", ["rope", "alibi"])
def test_blocks_equal_the_masked_full_attention(window, before, position):
    mixer = make(window, position)
    for time in (1, 5, 15, 16, 17, 40):
        x = torch.randn(2, before + time, HIDDEN_SIZE, dtype=torch.float64, requires_grad=True)
        state = mixer(x[:, :before])[1] if before else None
        y, _ = mixer(x[:, before:], state)
        mixed = Attention._attend(mixer, *mixer._project(x, 0))
        expected = mixer.out_proj(mixed.transpose(1, 2).flatten(2))[:, before:]
        torch.testing.assert_close(y, expected)
        grads = [torch.autograd.grad(one.sin().sum(), x, retain_graph=True)[0] for one in (y, expected)]
        torch.testing.assert_close(*grads)


@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
@pytest.mark.parametrize("position", ["rope", "alibi"])
def test_memory_grows_with_the_length(backend, position):
    totals = []
    for time in (256, 512):
        mixer, x = make(8, position).float(), torch.randn(1, time, HIDDEN_SIZE)
        mixer(x)  # the table of rotations is kept for the next call
        with sdpa_kernel(backend), CountElements() as counted:
            mixer(x)[0].sum().backward()
        totals.append(counted.total)
    assert totals[1] <= 2.1 * totals[0]


@torch.inference_mode()
def test_a_state_keeps_its_own_tokens_alone_in_memory():
    mixer = make(window=8)
    _, state = mixer(torch.randn(2, 500, HIDDEN_SIZE, dtype=torch.float64))
    for _ in range(3):
        kept = [one.untyped_storage().nbytes() // one.element_size() for one in (state.keys, state.values)]
        assert sum(kept) <= 2 * 2 * mixer.state_size(500)
        _, state = mixer(torch.randn(2, 1, HIDDEN_SIZE, dtype=torch.float64), state)


@pytest.mark.parametrize("position", ["rope", "alibi"])
def test_single_tokens_are_written_into_a_ring(position):
    """Between longer pieces, and before a piece with gradients."""
    mixer = make(5, position)
    x = torch.randn(2, 24, HIDDEN_SIZE, dtype=torch.float64)
    expected, _ = mixer(x)
    with torch.no_grad():
        y, state = mixer(x[:, :3])
        parts, places = [y], set()
        for at in range(3, 14):
            y, state = mixer(x[:, at : at + 1], state)
            parts.append(y)
            places.add(state.keys.data_ptr())
        assert len(places) == 1 and state.keys.shape[2] == 5
        y, state = mixer(x[:, 14:17], state)
        parts.append(y)
        y, state = mixer(x[:, 17:18], state)
        parts.append(y)
    y, state = mixer(x[:, 18:19], state)
    parts += [y, mixer(x[:, 19:], state)[0]]
    assert y.requires_grad
    torch.testing.assert_close(torch.cat(parts, 1), expected)
