"""`model.recompute: blocks`: the same bits as without, from less memory."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.strategies import FSDPStrategy
from mixer_cases import HIDDEN_SIZE, MIXERS
from own_networks import Gru
from tiny_fit import fit
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from lit_retrieval.errors import UserError
from lit_retrieval.mixers import Attention, Mamba, SwiGLU, states_are_wanted
from lit_retrieval.models import SequenceModel, Stage
from lit_retrieval.runs.configuration import run_hash
from lit_retrieval.training import SequenceModule

BLOCKS = partial(SequenceModule, recompute="blocks")


class Dropout(nn.Module):
    """A mixer that draws random numbers, and keeps what it is told of its state."""

    def __init__(self, hidden_size, layer_idx):
        super().__init__()
        self.linear, self.told = nn.Linear(hidden_size, hidden_size), []

    def forward(self, x, state=None):
        self.told.append(states_are_wanted())
        return nn.functional.dropout(self.linear(x).tanh(), 0.5, self.training), None

    def state_size(self, length):
        return 0


def fla_layer(hidden_size, layer_idx):
    from fla.layers import GatedDeltaNet

    return GatedDeltaNet(hidden_size=hidden_size, num_heads=2, head_dim=8, layer_idx=layer_idx)


def weights(module):
    return torch.cat([one.detach().flatten() for one in module.parameters()])


def gradients(mixer, recomputes):
    """Logits and all gradients of two blocks."""
    torch.manual_seed(0)
    model = SequenceModel(7, HIDDEN_SIZE, [Stage([mixer], 2)], embedding="learned")
    if recomputes:
        model.recompute_blocks()
    logits, _ = model(torch.randint(7, (3, 13)))
    logits.square().mean().backward()
    return [logits, *(one.grad for one in model.parameters())]


@pytest.mark.parametrize("mixer", [*MIXERS.values(), Dropout, fla_layer], ids=[*MIXERS, "dropout", "an fla layer"])
def test_gradients_have_the_same_bits(mixer):
    for plain, again in zip(gradients(mixer, False), gradients(mixer, True), strict=True):
        assert torch.equal(plain, again)


@pytest.mark.parametrize(
    "mixer", [Mamba, partial(Attention, num_heads=2), SwiGLU], ids=["Mamba", "attention", "SwiGLU"]
)
def test_only_the_inputs_of_blocks_are_kept(mixer):
    def kept(recomputes):
        model, sizes = SequenceModel(7, HIDDEN_SIZE, [Stage([mixer], 4)], embedding="learned"), []
        if recomputes:
            model.recompute_blocks()
        own = {one.data_ptr() for one in model.parameters()}

        def pack(tensor):
            if tensor.untyped_storage().data_ptr() not in own:
                sizes.append(tensor.numel())
            return tensor

        with saved_tensors_hooks(pack, lambda tensor: tensor):
            model.mix(torch.randn(2, 50, HIDDEN_SIZE, requires_grad=True), None)
        return sum(sizes)

    assert kept(True) <= 4 * 2 * 50 * HIDDEN_SIZE < kept(False) / 2


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}], ids=str)
def test_training_ends_with_the_same_weights(tmp_path, options):
    plain, _ = fit(tmp_path, module=SequenceModule, steps=4, **options)
    again, _ = fit(tmp_path, module=BLOCKS, steps=4, **options)
    assert torch.equal(weights(plain), weights(again))
    assert again.state_dict().keys() == plain.state_dict().keys()


def test_a_block_hears_the_second_time_what_it_heard_the_first_time(tmp_path):
    trained, _ = fit(tmp_path, module=BLOCKS, mixer=Dropout, steps=1)
    assert trained.model.mixers[0].told[-2:] == [False, False]


def test_it_may_be_set_when_a_run_is_resumed():
    assert run_hash({"model": {"recompute": "blocks", "hidden_size": 8}}) == run_hash({"model": {"hidden_size": 8}})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"first_state": "same"},
            "needs sequences that begin in zeros; leave out model.recompute or model.first_state",
        ),
        ({"network": Gru}, "is for the blocks of model.stages; leave out model.recompute"),
    ],
    ids=str,
)
def test_what_has_no_blocks_to_recompute_is_refused_before_the_first_step(tmp_path, options, said):
    with pytest.raises(UserError, match=f"^model.recompute {said}$"):
        fit(tmp_path, module=partial(BLOCKS, **options), steps=1)


def test_sharded_weights_have_a_key_of_their_own():
    module = BLOCKS(5, 8, [Stage([SwiGLU])])
    module.trainer = SimpleNamespace(strategy=FSDPStrategy())
    with pytest.raises(UserError, match=r"^model.recompute does not work with .* activation_checkpointing_policy"):
        module.on_fit_start()
