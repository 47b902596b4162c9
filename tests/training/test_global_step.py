"""The gradient of a step is that of its global batch, however it is cut."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.plugins.precision import MixedPrecision
from tiny_fit import Recording, fit

from lit_retrieval.errors import RunEndedError
from lit_retrieval.training import FiniteLoss, LastCheckpoint
from lit_retrieval.training.global_step import GlobalStep


@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("parts", [2, 4, 8])
def test_micro_batches_have_the_gradient_the_loss_and_the_norm_of_the_whole(tmp_path, parts, clip):
    whole, logged = fit(tmp_path, gradient_clip_val=clip)
    cut, logged_cut = fit(tmp_path, batch_size=8 // parts, accumulate_grad_batches=parts, gradient_clip_val=clip)
    torch.testing.assert_close(cut.gradient, whole.gradient, rtol=1e-4, atol=1e-6)
    for name in ("train/loss", "train/token_accuracy", "train/gradient_norm"):
        torch.testing.assert_close(logged_cut.callback_metrics[name], logged.callback_metrics[name], rtol=1e-4, atol=0)


class Plain(Recording):
    """Trains with plain gradient descent, and keeps the weights before its last step."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5)

    def configure_gradient_clipping(self, *arguments, **options):
        self.before = weights_of(self)
        super().configure_gradient_clipping(*arguments, **options)


def weights_of(module):
    return torch.cat([one.detach().flatten() for one in module.parameters() if one.grad is not None])


def scaling():
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))


@pytest.mark.parametrize("kind", [{}, {"gradient_clip_algorithm": "value"}], ids=["norm", "value"])
@pytest.mark.parametrize(
    "options",
    [lambda: {}, lambda: {"batch_size": 4, "accumulate_grad_batches": 2}, lambda: {"precision": "bf16-mixed"},
     lambda: {"plugins": [scaling()]}],
    ids=["whole", "micro-batches", "bf16-mixed", "loss scaler"],
)  # fmt: skip
def test_the_weights_move_by_the_clipped_gradient(tmp_path, options, kind):
    one, _ = fit(tmp_path, module=Plain, steps=1, gradient_clip_val=0.01, **kind, **options())
    norm = one.gradient.norm()
    clipped = one.gradient.clamp(-0.01, 0.01) if kind else one.gradient * 0.01 / norm
    assert norm > 0.05, "or nothing is clipped"
    torch.testing.assert_close(weights_of(one), one.before - 0.5 * clipped, rtol=1e-4, atol=1e-6)


class Infinite(Plain):
    """The gradients of the second step are infinite, as after a loss scale that was too large."""

    def on_after_backward(self):
        super().on_after_backward()
        if self.global_step == 1:
            for one in self.parameters():
                if one.grad is not None:
                    one.grad.fill_(torch.inf)


def test_a_loss_scaler_skips_the_step_whose_gradients_are_infinite(tmp_path):
    seen = Weights()
    fit(tmp_path, module=Infinite, steps=3, plugins=[scaling()], callbacks=[seen], log_every_n_steps=50)
    first, second, *_, last = seen.seen
    assert torch.equal(first, second) and not torch.equal(second, last) and torch.isfinite(last).all()


def test_ranks_and_micro_batches_together_have_the_gradient_of_all_tokens(monkeypatch):
    """Two ranks with two micro-batches each; what Lightning, DDP and the collective do is done by hand."""
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(3))
    parts = [[torch.randn(count, 3) for count in counts] for counts in ((1, 7), (2, 30))]
    tokens = torch.cat([part for rank in parts for part in rank])
    expected = torch.autograd.grad((tokens @ weight).square().mean() + (tokens @ weight).exp().mean(), weight)[0]
    sums, steps, gradients = [], [], []
    monkeypatch.setattr("torch.distributed.all_reduce", lambda total: total.copy_(sum(sums)))
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    trainer = SimpleNamespace(
        world_size=2, accumulate_grad_batches=2, strategy=strategy, precision_plugin=None, global_step=4
    )
    for rank in parts:
        steps.append(GlobalStep(trainer, most_tokens=50))
        losses = [
            steps[-1].loss((part @ weight).square().sum(), len(part), (part @ weight).exp().mean()) / 2 for part in rank
        ]
        gradients.append(torch.autograd.grad(sum(losses), weight)[0])
    weight.grad = sum(gradients) / 2
    norm = weight.grad.norm()
    for step in steps:  # what `finish` is about to add up over the ranks
        sums.append(torch.tensor([*map(float, step._sums.values()), float(norm**2)]))
    optimizer = SimpleNamespace(defaults={"fused": True})
    steps[0].finish(optimizer, [weight])
    torch.testing.assert_close(weight.grad, expected)
    torch.testing.assert_close(steps[0].norm, expected.norm())
    assert not optimizer.found_inf and steps[0].totals["tokens"] == 40
    torch.testing.assert_close(steps[0].totals["auxiliary"] / 40, (tokens @ weight).exp().mean().detach())


def test_an_auxiliary_loss_that_is_not_finite_is_bad():
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    step = GlobalStep(SimpleNamespace(world_size=1, accumulate_grad_batches=1, strategy=strategy), most_tokens=50)
    step.loss(torch.ones(()), 3, torch.tensor(torch.inf))
    assert step._sums["bad"] == 1


class Spoiled(Recording):
    """The loss is NaN in one micro-batch."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        if batch_idx == 5:
            self.whole_step.add(bad=torch.tensor(1.0))
            return loss * torch.nan
        return loss


class Weights(Callback):
    """Keeps the weights after each step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, *arguments):
        pl_module.whole_step._waits = True
        self.seen.append(torch.cat([one.detach().flatten().clone() for one in pl_module.parameters()]))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", "64-true"])
def test_no_weight_changes_from_a_bad_step_on_though_nobody_looks_for_a_while(tmp_path, precision):
    weights = Weights()
    with pytest.raises(RunEndedError, match="not finite in step 6"):
        fit(
            tmp_path, module=Spoiled, steps=30, callbacks=[weights, FiniteLoss()], precision=precision,
            gradient_clip_val=1.0,
        )  # fmt: skip
    assert len(weights.seen) == 10, "the host looks after ten steps"
    assert all(torch.isfinite(one).all() for one in weights.seen)
    assert not torch.equal(weights.seen[4], weights.seen[3])
    assert all(torch.equal(one, weights.seen[4]) for one in weights.seen[5:])


def test_no_checkpoint_is_written_once_a_step_was_not_taken(tmp_path):
    with pytest.raises(RunEndedError, match="not finite in step 6"):
        fit(tmp_path, module=Spoiled, steps=30, callbacks=[Weights(), FiniteLoss(), LastCheckpoint(every_n_steps=8)])
    assert not list(tmp_path.rglob("*.ckpt"))
