"""Auxiliary losses of layers in training: the gradient of the sum, however a batch is cut, and nothing elsewhere."""

from copy import deepcopy
from functools import partial

import pytest
import tiny_fit
import torch
from broken_layers import Average, Balanced
from tiny_fit import Recording, fit
from torch import nn
from torch.nn import functional as F

from lit_retrieval.data import TranscriptData
from lit_retrieval.errors import UserError
from lit_retrieval.mixers import Parallel
from lit_retrieval.models import Stage
from lit_retrieval.training import SequenceModule
from lit_retrieval.training.added_losses import check_losses
from lit_retrieval.training.step_graph import StepGraphs


class Kept(Recording):
    """Keeps its first weights and the inputs of all micro-batches."""

    def on_train_start(self):
        self.first, self.parts = deepcopy(self.model), []

    def loss(self, *inputs):
        self.parts.append(inputs)
        return super().loss(*inputs)


class Square(Balanced):
    """Its loss is a mean over tokens, so that it does not depend on how a batch is cut."""

    def loss(self, logits, is_token):
        return (logits.logsumexp(-1).square() * is_token).sum() / is_token.sum()


two_beside_each_other = partial(Parallel, mixers=[Balanced, Average])


def by_hand(module, weight):
    """The cross-entropy, the auxiliary loss and the gradient of the sum at the first weights."""
    model, nats, added, total = module.first, 0, 0, 0
    for tokens, positions, targets, count, length in module.parts:
        hidden, losses = F.embedding(tokens, model.embedding), []
        is_token = torch.tensor([[place + 1 < one for place in range(tokens.shape[1])] for one in length.tolist()])
        for mixer, norm in zip(model.mixers, model.norms, strict=True):
            mixed, _, loss = mixer(norm(hidden), None, is_token)
            hidden = hidden + mixed
            losses.append(loss)
        logits = model.predict(hidden).flatten(0, 1)[positions]
        nats = nats + F.cross_entropy(logits, targets, reduction="sum")
        added, total = added + count * sum(losses) / len(losses), total + count
    loss, auxiliary = nats / total, weight * added / total
    gradient = torch.autograd.grad(loss + auxiliary, list(model.parameters()))
    return loss, auxiliary, torch.cat([one.flatten() for one in gradient])


def logged(trainer):
    return [trainer.callback_metrics[name] for name in ("train/loss", "train/auxiliary_loss")]


@pytest.mark.parametrize(
    ("mixer", "weight", "parts"), [(Balanced, 1.0, 1), (Balanced, 3.0, 4), (two_beside_each_other, 1.0, 2)]
)
def test_the_gradient_is_that_of_the_sum(tmp_path, monkeypatch, mixer, weight, parts):
    monkeypatch.setattr(tiny_fit, "Stage", partial(Stage, repeat=2))
    module, trainer = fit(
        tmp_path, module=partial(Kept, auxiliary_loss_weight=weight), mixer=mixer, steps=1, batch_size=8 // parts,
        accumulate_grad_batches=parts,
    )  # fmt: skip
    loss, auxiliary, gradient = by_hand(module, weight)
    assert len(module.parts) == parts and auxiliary > 0
    torch.testing.assert_close(module.gradient, gradient, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(logged(trainer), [loss.detach(), auxiliary.detach()], rtol=1e-4, atol=0)


def test_two_micro_batches_have_the_loss_of_the_whole_where_it_is_a_mean_over_tokens(tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_fit, "TranscriptData", partial(TranscriptData, train_targets="every_token"))
    whole, trainer = fit(tmp_path, mixer=Square)
    cut, trainer_of_cut = fit(tmp_path, mixer=Square, batch_size=4, accumulate_grad_batches=2)
    torch.testing.assert_close(cut.gradient, whole.gradient, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(logged(trainer_of_cut), logged(trainer), rtol=1e-4, atol=0)


@pytest.mark.parametrize("way", ["recompute", "compile", "graphs"])
def test_it_is_added_however_a_block_is_run(tmp_path, monkeypatch, way):
    compile_with = torch.compile
    monkeypatch.setattr("torch.compile", lambda one, **options: compile_with(one, backend="eager", **options))

    class Graphs(SequenceModule):
        def on_train_start(self):
            self.graphs = StepGraphs(self.trainer, self, lambda run: run)

    module = Graphs if way == "graphs" else partial(SequenceModule, **{way: "blocks"})
    plain, trainer = fit(tmp_path, mixer=Balanced, steps=3)
    other, trainer_of_other = fit(tmp_path, module=module, mixer=Balanced, steps=3)
    for one, two in zip(plain.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logged(trainer_of_other), logged(trainer), rtol=1e-4, atol=0)


class Asked(SequenceModule):
    """Keeps what its first layer is asked for once training has begun: in which mode, and whether with a loss."""

    def on_train_start(self):
        self.asked = []
        self.model.mixers[0].register_forward_pre_hook(
            lambda mixer, inputs: self.asked.append((mixer.training, len(inputs) == 3))
        )


def test_scores_and_decoding_do_not_ask_for_it(tmp_path):
    module, trainer = fit(
        tmp_path, module=Asked, mixer=Balanced, limit_val_batches=1, val_check_interval=2, check_val_every_n_epoch=None
    )
    assert set(module.asked) == {(True, True), (False, False)}
    (score,) = trainer.validate(module, trainer.datamodule, verbose=False)
    module.auxiliary_loss_weight = 100.0
    assert trainer.validate(module, trainer.datamodule, verbose=False) == [score]


@pytest.mark.parametrize(("mixer", "weight"), [(Average, None), (Balanced, 0.0)], ids=["no loss", "weight 0"])
def test_without_a_loss_or_with_a_weight_of_0_nothing_is_asked_for_or_logged(tmp_path, mixer, weight):
    module, trainer = fit(tmp_path, module=partial(Asked, auxiliary_loss_weight=weight), mixer=mixer)
    assert set(module.asked) == {(True, False)}
    assert "train/auxiliary_loss" not in trainer.callback_metrics


def test_a_weight_below_0_and_states_that_are_passed_on_are_refused(tmp_path):
    with pytest.raises(UserError, match="auxiliary_loss_weight must be 0 or more, got -1"):
        SequenceModule(5, 8, [Stage([Balanced])], auxiliary_loss_weight=-1)
    passing = partial(SequenceModule, first_state="same")
    with pytest.raises(UserError, match=r"first_state adds no auxiliary loss.*auxiliary_loss_weight to 0"):
        fit(tmp_path, module=passing, mixer=Balanced)
    fit(tmp_path, module=partial(passing, auxiliary_loss_weight=0), mixer=Balanced)
    with pytest.raises(UserError, match=r"auxiliary_loss_weight is 0.5, but no layer of model.stages has an auxiliary"):
        fit(tmp_path, module=partial(SequenceModule, auxiliary_loss_weight=0.5), mixer=Average)


def test_a_loss_inside_a_whole_model_is_told():
    with pytest.warns(UserWarning, match="the auxiliary loss of Balanced is not added, since it is part of a whole"):
        check_losses(nn.Sequential(Balanced(8, 0)), None, False)
