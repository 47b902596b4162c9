"""Sequences that begin in an earlier batch's last states: against a loop by hand, row by row and token by token."""

import sys
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from fla_layers import SMALL, make_layer
from lightning.pytorch import Callback, Trainer
from mixer_cases import HIDDEN_SIZE, MIXERS
from tiny_fit import Recording, fit
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import ConstantLR

from lit_retrieval.data import TranscriptData
from lit_retrieval.errors import UserError
from lit_retrieval.mixers import LSTM, LinearRNN, Mamba, Titans, select_rows, tensors_of
from lit_retrieval.models import SequenceModel, Stage
from lit_retrieval.tasks import Author, StringCopying
from lit_retrieval.training import AtomicCheckpointIO, SequenceModule, StepSeed
from lit_retrieval.training.first_state import StatePassing, check_passing, read_to_ends

KINDS = ["same", "random"]
RECURRENT = ["Mamba", "Titans", "linear RNN", "diagonal linear RNN", "Canon", "LSTM", "GRU"]
STATELESS = ["SwiGLU", "ReGLU", "window of one"]
OF_FLA = list(SMALL) if sys.platform == "linux" else []
COUNTING = ("MultiScaleRetention", "TTT", "Titans")  # one rotates its keys by their positions, two work in chunks
HANDS_ON = [name for name in [*RECURRENT, *OF_FLA] if name not in COUNTING]


class Watch(Callback):
    """Keeps the batch, the weights and the gradient of each step, and the states in which its rows begin."""

    def __init__(self, monkeypatch):
        self.batches, self.weights, self.gradients, self.first = [], [], [], []
        take = StatePassing.take

        def watched(passing, model, rows):
            self.first.append(take(passing, model, rows))
            return self.first[-1]

        monkeypatch.setattr(StatePassing, "take", watched)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.append(batch)
        self.weights.append({name: one.clone() for name, one in pl_module.model.state_dict().items()})

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.gradients.append(pl_module.gradient)


def by_hand(model, batch, first):
    """The gradient of the mean loss on the model's tokens, and the state of each row after its last token."""
    losses, ends = [], []
    for row, length in enumerate(batch.length.tolist()):
        state = None if first is None else select_rows(first, torch.tensor([row]))
        for t in range(length):
            logits, state = model(batch.tokens[row : row + 1, t : t + 1], state)
            if t + 1 < length and batch.author[row, t + 1] == Author.MODEL:
                losses.append(F.cross_entropy(logits[0], batch.tokens[row, t + 1 : t + 2]))
        ends.append([one.detach() for one in tensors_of(state)])
    model.zero_grad()
    torch.stack(losses).mean().backward()
    return torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None]), ends


def is_close(one, other):
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("mixer", [Mamba, LinearRNN, LSTM])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_and_states_are_those_of_a_loop_by_hand(tmp_path, monkeypatch, kind, mixer):
    watch = Watch(monkeypatch)
    module = partial(Recording, first_state=kind)
    one, _ = fit(tmp_path, module=module, batch_size=4, steps=3, mixer=mixer, callbacks=[StepSeed(), watch])
    ends = None
    for batch, weights, gradient, first in zip(watch.batches, watch.weights, watch.gradients, watch.first, strict=True):
        assert len(batch.length.unique()) > 1
        if first is None:
            assert ends is None
        else:
            rows = [tensors_of(select_rows(first, torch.tensor([row]))) for row in range(4)]
            chosen = [[is_close(row, end) for end in ends] for row in rows]
            assert all(sum(of_row) == 1 and of_row[i] == (kind == "same") for i, of_row in enumerate(chosen))
        one.model.load_state_dict(weights)
        expected, ends = by_hand(one.model, batch, first)
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("parts", [2, 4])
def test_micro_batches_have_the_gradient_of_the_whole_batch(tmp_path, parts):
    module = partial(Recording, first_state="same")
    whole, _ = fit(tmp_path, module=module, steps=3)
    cut, _ = fit(tmp_path, module=module, steps=3, batch_size=8 // parts, accumulate_grad_batches=parts)
    torch.testing.assert_close(cut.gradient, whole.gradient, rtol=1e-3, atol=1e-5)
    other, _ = fit(tmp_path, steps=3)
    assert not torch.allclose(other.gradient, whole.gradient, rtol=1e-3, atol=1e-5)


def train(path, kind, steps, parts, checkpoint=None):
    task = StringCopying(max_size=16, vocab_size=5)
    torch.manual_seed(0)
    module = SequenceModule(
        len(task.vocabulary), 8, [Stage([Mamba])], first_state=kind,
        lr_scheduler=partial(ConstantLR, factor=1.0),  # the default depends on max_steps
    )  # fmt: skip
    module.hparams.clear()  # a class in them can't be written into a checkpoint
    trainer = Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False,
        enable_model_summary=False, default_root_dir=path, use_distributed_sampler=False, limit_val_batches=0,
        accumulate_grad_batches=parts, callbacks=[StepSeed()], plugins=[AtomicCheckpointIO()],
    )  # fmt: skip
    trainer.fit(module, TranscriptData(task, "cot", [4, 16], batch_size=4, val_samples=4), ckpt_path=checkpoint)
    return module, trainer


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_goes_on_with_the_same_states(tmp_path, kind, parts):
    whole, _ = train(tmp_path, kind, 4, parts)
    _, stopped = train(tmp_path, kind, 2, parts)
    stopped.save_checkpoint(tmp_path / "step_2.ckpt")
    resumed, _ = train(tmp_path, kind, 4, parts, tmp_path / "step_2.ckpt")
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(whole.passing.tensors(), resumed.passing.tensors(), strict=True):
        assert all(map(torch.equal, one, other))


def test_a_checkpoint_has_the_rows_of_all_ranks_in_the_order_of_the_global_batch():
    """Rank r of two has every second sample from the r-th on."""
    module = SequenceModule(5, 8, [Stage([Mamba])], first_state="same")
    module._trainer = SimpleNamespace(world_size=2, global_rank=1)
    module.all_gather = lambda rows: torch.stack([rows - 1, rows])
    rows = torch.tensor([[1.0], [3.0], [5.0]])
    gathered = module._of_all_ranks(rows)
    assert gathered.flatten().tolist() == [0, 1, 2, 3, 4, 5] and torch.equal(gathered[1::2], rows)


def make_model(name: str) -> SequenceModel:
    torch.manual_seed(0)
    width, mixer = (HIDDEN_SIZE, MIXERS[name]) if name in MIXERS else (32, lambda **arguments: make_layer(name))
    return SequenceModel(6, width, [Stage([mixer])], embedding="learned")


@pytest.mark.parametrize("name", [*RECURRENT, *OF_FLA])
def test_rows_are_read_to_their_own_ends(name):
    model, tokens, lengths = make_model(name), torch.randint(6, (4, 9)), torch.tensor([5, 9, 2, 5])
    _, first = model.read(torch.randint(6, (4, 3)))
    hidden, last = read_to_ends(model, tokens, lengths, first)
    for row, length in enumerate(lengths.tolist()):
        one = torch.tensor([row])
        wanted, end = model.read(tokens[one, :length], select_rows(first, one))
        torch.testing.assert_close(hidden[one, :length], wanted, rtol=1e-4, atol=1e-5)
        assert (hidden[row, length:] == 0).all()
        assert name in COUNTING or is_close(tensors_of(select_rows(last, one)), tensors_of(end))


@pytest.mark.parametrize("name", [*MIXERS, *OF_FLA])
def test_what_has_no_state_to_hand_on_is_refused_in_one_line(name):
    model = make_model(name)
    if name in HANDS_ON:
        check_passing(model)
    else:
        said = f"but {name} counts tokens" if name in COUNTING else "but that of [A-Za-z]+ grows"
        said = "but no mixer has one" if name in STATELESS else said
        with pytest.raises(UserError, match=rf"^model\.first_state needs states.*{said}; leave out model.first_state$"):
            check_passing(model)


@pytest.mark.parametrize("chunk", [1, 3, 16])
def test_a_count_within_a_chunk_is_one_of_tokens_for_any_chunk(chunk):
    """Rows that end at different places of a chunk would go on with the count of one of them."""
    model = SequenceModel(6, 8, [Stage([partial(Titans, num_heads=2, chunk=chunk)])])
    with pytest.raises(UserError, match="but Titans counts tokens"):
        check_passing(model)


def test_an_own_model_is_refused():
    with pytest.raises(UserError, match=r"^model\.first_state needs a model of model\.stages, got Linear; leave"):
        check_passing(nn.Linear(2, 2))


def test_another_row_is_refused_where_a_rank_has_one(tmp_path):
    with pytest.raises(UserError, match=r"^model\.first_state=random needs 2 samples or more on each rank, got 1; set"):
        fit(tmp_path, module=partial(Recording, first_state="random"), batch_size=1, steps=1)
    fit(tmp_path, module=partial(Recording, first_state="same"), batch_size=1, steps=1)


def test_a_state_of_one_row_goes_on_in_itself():  # as the last batch of a file may have one
    passing = StatePassing("random", 1, rows=2)
    passing.keep(torch.ones(1, 3))
    assert torch.equal(passing.take(None, 1), torch.ones(1, 3))
