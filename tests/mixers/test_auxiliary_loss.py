"""Auxiliary losses of mixers: the balance of a router, that of fla's MomAttention, and mixers side by side."""

import sys
from functools import partial

import pytest
import torch
from broken_layers import Average, Balanced
from fla_layers import HIDDEN_SIZE, make_layer

from lit_retrieval.mixers import FlaLayer, Parallel, balance_loss, has_auxiliary_loss

IS_TOKEN = torch.arange(7) < torch.tensor([[7], [3], [5]])
FLA = pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")


@FLA
@pytest.mark.parametrize("is_token", [IS_TOKEN, torch.ones_like(IS_TOKEN)], ids=["padded", "whole"])
@pytest.mark.parametrize("num_chosen", [1, 2])
def test_the_balance_is_that_of_flas_model(num_chosen, is_token):
    from fla.models.mom.modeling_mom import load_balancing_loss_func

    logits = torch.randn(3, 7, 4, requires_grad=True)
    expected = load_balancing_loss_func((logits.flatten(0, 1),), 4, num_chosen, is_token.int())
    actual = balance_loss(logits, num_chosen, is_token)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(*(torch.autograd.grad(one, logits)[0] for one in (actual, expected)))


def test_the_balance_is_least_where_all_choices_are_used_equally():
    logits = 4 * torch.eye(4).repeat(3, 2, 1)
    is_token = torch.ones(3, 8, dtype=torch.bool)
    torch.testing.assert_close(balance_loss(logits, 1, is_token), torch.tensor(1.0))
    assert balance_loss(4 * torch.eye(4)[:1].repeat(3, 8, 1), 1, is_token) > 3
    half = balance_loss(logits.bfloat16(), 1, is_token)
    assert half.dtype == torch.float32 and balance_loss(logits.double(), 1, is_token).dtype == torch.float64


@FLA
def test_mom_attention_has_the_loss_of_the_logits_that_it_routes_by():
    from fla.models.mom.modeling_mom import load_balancing_loss_func

    layer = make_layer("MomAttention")
    mixer, x = FlaLayer(layer), torch.randn(3, 7, HIDDEN_SIZE)
    y, _, loss = mixer(x, None, IS_TOKEN)
    plain, _, _, logits = layer.eval()(x)
    assert has_auxiliary_loss(mixer)
    torch.testing.assert_close(loss, 0.01 * load_balancing_loss_func((logits,), 3, 2, IS_TOKEN.int()))
    torch.testing.assert_close(y, plain)
    assert len(mixer(x)) == 2


@FLA
def test_no_other_layer_of_fla_has_a_loss():
    assert not has_auxiliary_loss(FlaLayer(make_layer("GatedLinearAttention")))


def test_mixers_side_by_side_have_the_sum():
    x = torch.randn(3, 7, 16)
    mixer = Parallel(16, 0, [Average, Balanced, partial(Parallel, mixers=[Balanced, Average])])
    own = [one(x, None, IS_TOKEN)[2] for one in (mixer.mixers[1], mixer.mixers[2].mixers[0])]
    y, _, loss = mixer(x, None, IS_TOKEN)
    torch.testing.assert_close(loss, sum(own))
    assert torch.equal(mixer(x)[0], y) and len(mixer(x)) == 2
    assert not has_auxiliary_loss(Parallel(16, 0, [Average, Average]))
