from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from lit_retrieval.constructions import Theorem52
from lit_retrieval.data import BatchDataset, TranscriptData, collate
from lit_retrieval.decoding import rows_at_once
from lit_retrieval.errors import UserError
from lit_retrieval.mixers import Mamba
from lit_retrieval.models import Stage
from lit_retrieval.tasks import Author, IsTree, SampleStream
from lit_retrieval.training import SequenceModule
from lit_retrieval.training.global_step import GlobalStep
from lit_retrieval.training.optimizers import make_optimizer, parameter_groups
from lit_retrieval.training.scores import join

TASK = IsTree(max_size=4)


def module(**arguments):
    torch.manual_seed(0)
    return SequenceModule(len(TASK.vocabulary), 8, [Stage([Mamba])], **arguments)


def batch(regime="retrieval"):
    return BatchDataset(SampleStream(TASK, regime, [4], 0, "fit"))[np.arange(8)]


def loss_of(one, samples):
    one.whole_step = GlobalStep(Trainer(accelerator="cpu", logger=False), most_tokens=100)
    return one.training_step(samples, 0)


def test_the_loss_is_the_mean_over_the_models_words_alone():
    one, samples = module(), batch()
    logits, _ = one(samples.tokens[:, :-1])
    nats = -logits.log_softmax(-1).gather(-1, samples.tokens[:, 1:, None]).squeeze(-1)
    expected = nats[samples.author[:, 1:] == Author.MODEL].mean()
    torch.testing.assert_close(loss_of(one, samples), expected)


class Ours(torch.optim.AdamW):
    def __init__(self, params, lr, **options):
        super().__init__(params, lr, **options)


@pytest.mark.parametrize("kind", [Ours, torch.optim.SGD, torch.optim.AdamW])
def test_a_weight_decay_reaches_the_matrices_of_another_optimizer(kind):
    one = module(weight_decay=0.1)
    optimizer = make_optimizer(lambda **given: kind(**given), parameter_groups(one, 0.1), 0.5, is_fused=False)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]


OF_STAGES = {
    "initializer_range": 0.02, "norm_eps": 1e-6, "head": "untied", "residual": "rescaled", "readout": "bottleneck",
}  # fmt: skip


@pytest.mark.parametrize("key", OF_STAGES)
@pytest.mark.parametrize(("kind", "model"), [("construction", Theorem52("index")), ("network", torch.nn.Linear)])
def test_what_a_whole_model_would_ignore_is_refused(key, kind, model):
    with pytest.raises(UserError, match=rf"^model\.{key} is for .*; leave out model\.{kind} or model\.{key}$"):
        module(**{kind: model, key: OF_STAGES[key]})


def test_a_retrieved_word_is_no_target():
    one, samples = module(), batch()
    assert (samples.author == Author.RETRIEVER).any()
    transcripts = samples.transcripts()
    author = np.where(transcripts.author == Author.MODEL, transcripts.author, 0)
    torch.testing.assert_close(loss_of(one, samples), loss_of(one, collate(replace(transcripts, author=author))))


def test_rows_are_decoded_in_parts_if_memory_needs_it(monkeypatch):
    monkeypatch.setattr(rows_at_once, "_FEW", 3)
    monkeypatch.setattr(rows_at_once, "memory_size", lambda: 4 * 5 * 1000)
    sized = SimpleNamespace(state_bits=lambda length: 8 * length)
    counts = [(2, 10**6), (3, 10**6), (8, 10**6), (8, 1000), (8, 100)]
    found = [rows_at_once.rows_at_once(sized, rows, length, torch.device("cpu")) for rows, length in counts]
    assert found == [2, 3, 3, 5, 8]

    one, samples = module().eval(), batch()
    monkeypatch.setattr(SequenceModule, "data", TranscriptData(TASK, "retrieval", [4], max_new_tokens=20))
    whole, calls = one.decode(samples), []
    monkeypatch.setattr(rows_at_once, "rows_at_once", lambda *arguments: calls.append(arguments[1:3]) or 3)
    assert one.decode(samples) == whole and calls == [(8, int(samples.prompt_length.max()) + 20)]


def test_a_batch_that_is_too_long_for_the_model_is_told(monkeypatch):
    one, samples = module().eval(), batch()
    monkeypatch.setattr(SequenceModule, "data", TranscriptData(TASK, "retrieval", [4], max_new_tokens=20))
    one.model.most_places = int(samples.prompt_length.max()) - 1
    with pytest.warns(UserWarning, match="some texts have more than the"):
        one.decode(samples)
    one.model.has_vectors_of_places = True
    for step in (one.training_step, one.validation_step):
        with pytest.raises(UserError, match=r"^samples must have at most \d+ tokens, the places of the model, got"):
            step(samples, 0)


def test_rows_with_prompts_of_other_lengths_are_decoded_apart():
    lengths, parts = np.array([90, 30, 35, 300, 41, 305, 33]), rows_at_once.parts_of_similar_prompts
    assert [part.tolist() for part in parts(lengths, 9, 20)] == [[1, 2, 4, 6], [0], [3, 5]]
    assert [part.tolist() for part in parts(lengths, 3, 20)] == [[1, 2, 4], [6], [0], [3, 5]]
    assert [part.tolist() for part in parts(lengths, 9, 300)] == [list(range(7))]


@pytest.mark.parametrize("regime", ["cot", "retrieval"])
def test_scores_in_parts_are_those_of_the_whole(regime):
    one, samples = module(), batch(regime)
    whole = one._teacher_forced(samples)
    parts = [one._teacher_forced(part) for part in samples.split(1)]
    assert len(parts) == 8
    for name, measured in join(parts).items():
        torch.testing.assert_close(measured.values, whole[name].values, rtol=1e-4, atol=1e-5)
        assert torch.equal(measured.weights, whole[name].weights)


def test_the_schedule_counts_the_warm_up_in_samples(tmp_path):
    one = module(warmup_samples=32, learning_rate=1.0)
    data = TranscriptData(TASK, "vanilla", [4], batch_size=8, val_samples=8)
    trainer = Trainer(
        max_steps=10, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, limit_val_batches=0, use_distributed_sampler=False,
    )  # fmt: skip
    rates = []
    one.on_train_batch_end = lambda *arguments: rates.append(one.lr_schedulers().get_last_lr()[0])
    trainer.fit(one, data)
    # The rate of the next step: four steps of 8 samples are the warm-up, the cosine takes the other six.
    assert rates[:3] == [0.5, 0.75, 1.0] and abs(rates[-1]) < 1e-12


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_gradients_of_mixed_precision_are_clipped(tmp_path, precision):
    """On a CPU Lightning takes bf16-mixed for both."""
    one = module(warmup_samples=0)
    trainer = Trainer(
        max_steps=2, accelerator="cpu", precision=precision, gradient_clip_val=1.0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
        limit_val_batches=0, use_distributed_sampler=False,
    )  # fmt: skip
    before = [weight.clone() for weight in one.parameters()]
    trainer.fit(one, TranscriptData(TASK, "vanilla", [4], batch_size=8, val_samples=8))
    assert any(not torch.equal(weight, old) for weight, old in zip(one.parameters(), before, strict=True))
    assert all(torch.isfinite(weight).all() for weight in one.parameters())


def test_weights_that_ask_for_it_are_not_decayed():
    one = module(weight_decay=0.1)
    decayed, others = parameter_groups(one, one.weight_decay)
    assert decayed["weight_decay"] == 0.1 and others["weight_decay"] == 0
    names = {id(parameter): name for name, parameter in one.named_parameters()}
    found = {names[id(parameter)].rpartition("mixers.0.")[2] for parameter in decayed["params"]}
    matrices = {"in_proj.weight", "conv1d.weight", "x_proj.weight", "dt_proj.weight", "out_proj.weight"}
    assert {name for name in found if "stages" not in name} >= matrices and not any("A_log" in name for name in found)
    trained = {id(parameter) for parameter in one.parameters() if parameter.requires_grad}
    assert {id(parameter) for group in (decayed, others) for parameter in group["params"]} == trained
    assert len(decayed["params"]) + len(others["params"]) == len(trained)
    before = {name: parameter.detach().clone() for name, parameter in one.named_parameters()}
    for parameter in one.parameters():
        parameter.grad = torch.zeros_like(parameter)
    make_optimizer(None, [decayed, others], learning_rate=0.5, is_fused=True).step()
    for name, parameter in one.named_parameters():
        factor = 1 - 0.5 * 0.1 if any(parameter is other for other in decayed["params"]) else 1
        torch.testing.assert_close(parameter.detach(), factor * before[name])
