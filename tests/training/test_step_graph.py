"""Steps that are taken whole, as a CUDA graph takes them, have the weights of Lightning's steps."""

from functools import partial

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from tiny_fit import fit

from lit_retrieval.data import BatchDataset
from lit_retrieval.errors import RunEndedError
from lit_retrieval.mixers import Attention
from lit_retrieval.tasks import IsTree, SampleStream
from lit_retrieval.training import (
    BestCheckpoint,
    FiniteLoss,
    Gpu,
    Inspection,
    LastCheckpoint,
    SequenceModule,
    default_callbacks,
)
from lit_retrieval.training.step_graph import StepGraphs, _set_gradients, can_record, pad

TASK = IsTree(max_size=4)


class Graphs(Callback):
    """Gives the module graphs; `record` stands in for the recorder of CUDA graphs, and runs the step again."""

    def __init__(self, record=lambda run: run):
        self.record = record

    def on_train_start(self, trainer, pl_module):
        pl_module.graphs = StepGraphs(trainer, pl_module, self.record)


class Seen(Callback):
    """Keeps the weights, the loss and the metrics of each step."""

    def __init__(self):
        self.weights, self.losses, self.logged = [], [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.weights.append(torch.cat([one.detach().flatten().clone() for one in pl_module.parameters()]))
        self.losses.append(float(outputs["loss"]))
        self.logged.append({name: float(value) for name, value in trainer.callback_metrics.items()})
        assert all(isinstance(group["lr"], float) for group in trainer.optimizers[0].param_groups)


class Rounded(Callback):
    """Rounds the learning rate and pads the batch as graphs do, and leaves the step to Lightning."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = float(torch.tensor(group["lr"]))


class Padded(SequenceModule):
    def training_step(self, batch, batch_idx):
        return self.loss(*pad(batch))


def train(tmp_path, *callbacks, module=SequenceModule, **options):
    seen = Seen()
    one, trainer = fit(tmp_path, module=module, callbacks=[*callbacks, seen], **{"steps": 8, **options})
    return seen, one, trainer


@pytest.mark.parametrize(
    "options",
    [
        {}, {"gradient_clip_val": 0.1}, {"mixer": Attention}, {"precision": "bf16-mixed", "gradient_clip_val": 1.0},
        {"precision": "bf16-true"}, {"precision": "64-true"}, {"task": IsTree(max_size=16), "log_every_n_steps": 3},
        {"module": partial(SequenceModule, weight_decay=0.1)},
    ],
    ids=["plain", "clipped", "attention", "bf16-mixed", "bf16", "float64", "a task with searches", "weight decay"],
)  # fmt: skip
def test_a_step_taken_whole_has_the_bits_of_lightnings(tmp_path, options):
    recorded = []

    def record(run):
        recorded.append(run)
        return run

    graphs, one, _ = train(tmp_path, Graphs(record), **options)
    padded = {"module": partial(Padded, weight_decay=0.1) if "module" in options else Padded}
    wanted, _, trainer = train(tmp_path, Rounded(), **{**options, **padded})
    assert recorded and one.graphs is not None
    assert all(torch.equal(*pair) for pair in zip(graphs.weights, wanted.weights, strict=True))
    assert graphs.losses == pytest.approx(wanted.losses, rel=1e-6) and trainer.global_step == 8  # kept in float32
    for found, other in zip(graphs.logged, wanted.logged, strict=True):
        assert found == pytest.approx(other, rel=1e-6)
    assert not torch.equal(graphs.weights[-1], graphs.weights[0])


def test_padding_and_rounding_leave_the_weights_where_they_were(tmp_path):
    graphs, _, _ = train(tmp_path, Graphs())
    plain, _, _ = train(tmp_path)
    torch.testing.assert_close(graphs.weights[-1], plain.weights[-1], rtol=1e-4, atol=1e-6)


def test_what_cant_be_recorded_runs_without_after_one_warning(tmp_path):
    def refuse(run):
        raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.warns(UserWarning, match="gpu.graphs: false") as warned:
        graphs, _, _ = train(tmp_path, Graphs(refuse))
    assert len([one for one in warned if "gpu.graphs" in str(one.message)]) == 1
    wanted, _, _ = train(tmp_path, Rounded(), module=Padded)
    assert all(torch.equal(*pair) for pair in zip(graphs.weights, wanted.weights, strict=True))


class Stop(Callback):
    """Saves and ends a run after a step."""

    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, pl_module, *arguments):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


@pytest.mark.parametrize("first", [[Graphs()], []], ids=["with graphs", "without"])
def test_a_resumed_run_repeats_the_bits(tmp_path, first):
    path = tmp_path / "half.ckpt"
    train(tmp_path, *(first or [Rounded()]), Stop(3, path), module=SequenceModule if first else Padded)
    resumed, _, trainer = train(tmp_path, Graphs(), ckpt_path=path)
    whole, _, _ = train(tmp_path, Graphs())
    assert trainer.global_step == 8 and len(resumed.weights) == 5
    assert all(torch.equal(*pair) for pair in zip(resumed.weights, whole.weights[3:], strict=True))


class Spoiled(SequenceModule):
    """The loss is NaN from the sixth step on."""

    def loss(self, tokens, positions, targets, count, length):
        self.steps = getattr(self, "steps", 0) + 1
        nats = super().loss(tokens, positions, targets, count * (torch.nan if self.steps > 5 else 1), length)
        return nats


def test_a_loss_that_is_not_finite_ends_the_run_with_its_step(tmp_path):
    seen = Seen()
    with pytest.raises(RunEndedError, match="not finite in step 6"):
        fit(tmp_path, module=Spoiled, steps=30, callbacks=[Graphs(), FiniteLoss(), seen])
    assert torch.isfinite(seen.weights[-1]).all()


def test_positions_are_padded_to_few_numbers_with_targets_that_do_not_count():
    stream = BatchDataset(SampleStream(TASK, "retrieval", [4], 0, "fit"))
    batch = stream[torch.arange(7).numpy()]
    inputs = pad(batch)
    count = len(batch.positions)
    assert count <= len(inputs.positions) <= 1.25 * count and int(inputs.num_targets) == count
    assert inputs.positions[:count].equal(batch.positions) and inputs.targets[:count].equal(batch.targets)
    assert (inputs.targets[count:] == -100).all()


def test_two_weights_with_the_same_gradient_are_scaled_once_each():
    first, second, third = (torch.nn.Parameter(torch.ones(2, 3)) for _ in range(3))
    weights = [first, second, third]
    _set_gradients(weights, torch.autograd.grad(((first + second) ** 2).sum() + third.sum(), weights))
    for weight in weights:
        weight.grad.mul_(0.5)
    assert [weight.grad.unique().tolist() for weight in weights] == [[2.0], [2.0], [0.5]]


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}, {"gradient_clip_algorithm": "value"}])
def test_graphs_are_for_one_gpu_and_one_batch_a_step(options):
    callbacks = default_callbacks(Inspection(), BestCheckpoint(), LastCheckpoint())
    trainer = Trainer(accelerator="cpu", logger=False, callbacks=callbacks, **options)
    assert not can_record(trainer)
    trainer.strategy._root_device = torch.device("cuda", 0)
    assert can_record(trainer) == (not options)


class Watching(Callback):
    def on_after_backward(self, trainer, pl_module):
        """Looks at the gradients."""


def test_a_callback_that_looks_at_gradients_finds_them():
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[Watching()])
    trainer.strategy._root_device = torch.device("cuda", 0)
    assert not can_record(trainer)


def test_a_cpu_runs_without_graphs(tmp_path):
    _, one, _ = train(tmp_path, Gpu(), steps=1)
    assert one.graphs is None
