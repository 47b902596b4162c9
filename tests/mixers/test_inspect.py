"""What a mixer draws of itself is what its `forward` does."""

import sys
from functools import partial

import pytest
import torch
from fla_layers import SMALL, make_layer
from mixer_cases import HIDDEN_SIZE, MIXERS, make_mixer
from torch import Tensor, nn

from lit_retrieval.mixers import Attention, FlaLayer, Inspectable, LSTMState, SlidingWindowAttention

ATTENTION = {
    "full": Attention, "no positions": partial(Attention, rope_base=None),
    "ALiBi": partial(Attention, position="alibi"),
    "window and ALiBi": partial(SlidingWindowAttention, position="alibi"),
    **{f"window of {size}": partial(SlidingWindowAttention, window=size) for size in (1, 3, 9, 40)},
}  # fmt: skip
ROWS = {
    "Mamba": 32, "diagonal linear RNN": 16, "LSTM": 12, "GRU": 12, "grouped attention beside Mamba": 32,
    "linear RNN beside a window": 16,
}  # fmt: skip
DELTA_RULES = {"DeltaNet", "GatedDeltaNet", "KimiDeltaAttention", "RWKV7Attention"}
VALUES = {name: int(name in ("DeltaNet", "LinearAttention", "MultiScaleRetention", "RWKV7Attention")) for name in SMALL}
"""The axis of the values in a head's state, which fla has first in some layers."""
UNDECAYING = {"LinearAttention", "DeltaNet"}
needs_fla = pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")


@pytest.mark.parametrize("name", ATTENTION)
def test_the_attention_drawn_mixes_the_values_as_forward_does(name):
    torch.manual_seed(0)
    mixer, x = ATTENTION[name](hidden_size=32, layer_idx=0, num_heads=4), torch.randn(1, 12, 32)
    for parameter in mixer.parameters():
        nn.init.normal_(parameter, std=0.3)  # so that positions and masks are seen in the output
    weights = mixer.inspect(x)["attention"]
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, 12))
    values = mixer.qkv_proj(x)[..., 64:].view(12, 4, 8)
    mixed = torch.einsum("hts,shd->thd", weights, values).flatten(1)
    torch.testing.assert_close(mixer(x)[0][0], mixer.out_proj(mixed), rtol=1e-4, atol=1e-5)


def kept_by_forward(mixer: nn.Module, x: Tensor, first: Tensor, read, write) -> Tensor:
    """How much of each element of its state `forward` keeps at each position: the gradient of the next state.

    Args:
        mixer: The mixer.
        x: Inputs, `(1, time, hidden_size)`.
        first: The state before the first token, as `read` gives it.
        read: Takes the elements that decay out of a state.
        write: Puts them into a state, the second argument, or makes one if that is None.
    """
    kept, state, elements = [], None, first
    for step in x.split(1, 1):
        elements = elements.detach().requires_grad_()
        _, state = mixer(step, write(elements, state))
        kept.append(torch.autograd.grad(read(state).sum(), elements)[0][0])
        elements = read(state)
    return torch.stack(kept, -1)


def test_the_decay_of_mamba_is_that_of_its_state():
    mixer, x = make_mixer("Mamba"), torch.randn(1, 9, HIDDEN_SIZE)
    _, start = mixer(x[:, :1])
    kept = kept_by_forward(
        mixer, x[:, 1:], start.scan, lambda state: state.scan,
        lambda scan, state: (state or start)._replace(scan=scan),
    )  # fmt: skip
    torch.testing.assert_close(mixer.inspect(x)["decay"][0, :, 1:], kept.mean(0), rtol=1e-4, atol=1e-6)


def test_the_decay_of_an_lstm_is_that_of_its_cell():
    mixer, x = make_mixer("LSTM"), torch.randn(1, 9, HIDDEN_SIZE)
    kept = kept_by_forward(
        mixer, x, torch.zeros(1, 12), lambda state: state.cell,
        lambda cell, state: LSTMState(torch.zeros(1, 12) if state is None else state.output.detach(), cell),
    )  # fmt: skip
    torch.testing.assert_close(mixer.inspect(x)["decay"][0], kept, rtol=1e-4, atol=1e-6)


def test_the_decay_of_a_diagonal_linear_rnn_is_that_of_its_state_up_to_one():
    mixer, x = make_mixer("diagonal linear RNN"), torch.randn(1, 9, HIDDEN_SIZE)
    with torch.no_grad():
        mixer.A[:2] = torch.tensor([-0.5, 1.5])
    kept = kept_by_forward(mixer, x, torch.zeros(1, 16), lambda state: state, lambda h, state: h)
    torch.testing.assert_close(mixer.inspect(x)["decay"][0], kept.abs().clamp(max=1))


def test_the_decay_of_a_gru_is_its_update_gate():
    mixer, x, state = make_mixer("GRU"), torch.randn(1, 9, HIDDEN_SIZE), torch.zeros(1, 12)
    rnn, kept = mixer.rnn, []
    for step in x.unbind(1):
        gates = step @ rnn.weight_ih_l0.T + rnn.bias_ih_l0 + state @ rnn.weight_hh_l0.T + rnn.bias_hh_l0
        kept.append(gates[:, 12:24].sigmoid())
        _, state = mixer(step[:, None], state)
    torch.testing.assert_close(mixer.inspect(x)["decay"], torch.stack(kept, 2), rtol=1e-4, atol=1e-6)


@needs_fla
@pytest.mark.parametrize("name", SMALL)
def test_the_decay_of_an_fla_layer_is_that_of_its_state(name):
    """The Jacobian of a step, among the keys of one value, is the decay; a delta rule takes a matrix of rank 1 away."""
    mixer = FlaLayer(make_layer(name))
    x = torch.randn(1, 6, mixer.layer.hidden_size, generator=torch.Generator().manual_seed(3))
    _, state = mixer(x[:, :-1])
    before = state.recurrent.detach().requires_grad_()
    _, last = mixer(x[:, -1:], state._replace(recurrent=before))
    heads = before.shape[1]
    decays = torch.ones(heads, 1) if name in UNDECAYING else mixer.inspect(x)["decay"][0, :, -1].view(heads, -1)
    for head, decay in enumerate(decays):
        new = last.recurrent[0, head]
        rows = [torch.autograd.grad(one, before, retain_graph=True)[0][0, head] for one in new.select(VALUES[name], 0)]
        jacobian = torch.stack([row.select(VALUES[name], 0) for row in rows])
        rest = torch.linalg.svdvals(jacobian - torch.diag(decay.expand(len(rows))))
        assert rest[int(name in DELTA_RULES)] < 1e-5


@torch.inference_mode()
@pytest.mark.parametrize("name", MIXERS)
def test_a_decay_is_drawn_where_there_is_one_as_shares(name):
    mixer = make_mixer(name)
    decay = mixer.inspect(torch.randn(1, 9, HIDDEN_SIZE)).get("decay") if isinstance(mixer, Inspectable) else None
    assert (decay is None) == (name not in ROWS)
    assert decay is None or (decay.shape == (1, ROWS[name], 9) and decay.min() >= 0 and decay.max() <= 1)
