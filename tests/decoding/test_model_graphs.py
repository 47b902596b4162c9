"""Decoding with recorded steps writes what decoding without writes; the recorder here runs a step again."""

from functools import partial
from itertools import chain
from pathlib import Path

import forgetful
import numpy as np
import pytest
import torch
import yaml
from forgetful import Forgetful
from torch import nn

from lit_retrieval.constructions import Theorem53, Theorem54, Theorem57, Theorem58
from lit_retrieval.decoding import ModelGraphs, decode
from lit_retrieval.mixers import LSTM, Attention, Mamba, Parallel, SlidingWindowAttention
from lit_retrieval.models import Stage
from lit_retrieval.retrieval import EitherFormRetriever, FaultyRetriever, RegularExpressionRetriever
from lit_retrieval.tasks import Author, IsTree, MachineRun

SEARCH = EitherFormRetriever(RegularExpressionRetriever(timeout=5.0))
TASK, ROWS = IsTree(max_size=6), np.arange(6)


class Recorder:
    """Runs a step again, and counts what was recorded and run."""

    def __init__(self):
        self.recorded = self.run = 0

    def __call__(self, step):
        self.recorded += 1

        def replay():
            self.run += 1
            step()

        return replay


def make_model(mixer=Mamba):
    return forgetful.make_model(len(TASK.vocabulary), 16, [Stage([mixer], repeat=2)])


def play(model, rows=11):
    samples = TASK.sample(0, np.arange(rows), np.resize([4, 6], rows), "cot")
    return decode(model, samples, TASK, EitherFormRetriever(), 40)


ATTENTION = partial(Attention, num_heads=2)
MIXERS = {
    "mamba": Mamba, "lstm": LSTM, "attention": ATTENTION, "alibi": partial(ATTENTION, position="alibi"),
    "window": partial(SlidingWindowAttention, num_heads=2, window=5),
    "both": partial(Parallel, mixers=[Mamba, ATTENTION]),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXERS)
def test_recorded_steps_write_the_same(name):
    mixer = MIXERS[name]
    model, record = make_model(mixer), Recorder()
    graphs = ModelGraphs(model, record)
    wanted = play(model)
    assert play(Forgetful(model)) != wanted, "what is written depends on the state"
    assert play(graphs) == wanted
    recorded, run = record.recorded, record.run
    most = 5 if name in ("mamba", "lstm") else 12
    assert run > 20 and 1 <= recorded <= most, "one for each power of two of rows and of tokens"
    assert play(graphs) == wanted and play(graphs, rows=9) == play(model, rows=9)
    again = record.recorded
    assert play(graphs) == wanted and record.recorded == again, "the memory is large enough for all of them"
    assert record.run > 2 * run


@pytest.mark.parametrize("name", ["attention", "window", "both"])
def test_steps_that_can_no_longer_be_recorded_go_on_without(name):
    """The third form, of more tokens or fewer rows, can't be; its state is one that a graph has left."""
    model, record = make_model(MIXERS[name]), Recorder()

    def record_two(step):
        if record.recorded == 2:
            raise RuntimeError("out of memory")
        return record(step)

    with pytest.warns(UserWarning, match="runs without: out of memory"):
        assert play(ModelGraphs(model, record_two)) == play(model)
    assert record.run


PALINDROME = yaml.safe_load((Path(__file__).parents[2] / "configs/machines/palindrome.yaml").read_text())
CONSTRUCTED = {
    "searches": (Theorem53(), IsTree(max_size=8), "retrieval", [4, 8]),
    "attention": (Theorem57(), IsTree(max_size=8), "cot", [4, 8]),
    "searches its tape": (Theorem54(PALINDROME), MachineRun(PALINDROME), "retrieval", [2, 6]),
    "attention to its tape": (Theorem58(PALINDROME), MachineRun(PALINDROME), "cot", [2, 6]),
}


@pytest.mark.parametrize("name", CONSTRUCTED)
def test_the_constructions_of_the_theorems_run_as_they_are(name):
    """Each of their words depends on all that was read, and on what their searches found."""
    theorem, task, regime, sizes = CONSTRUCTED[name]
    model, record, samples = (
        theorem.write(task.vocabulary),
        Recorder(),
        task.sample(3, ROWS, np.resize(sizes, 6), regime),
    )

    def write(decoder):
        return decode(decoder, samples, task, RegularExpressionRetriever(timeout=5.0), 10_000)

    wanted = write(model)
    assert [reply.answers for reply in wanted] == samples.answers.tolist()
    assert write(ModelGraphs(model, record)) == wanted and not record.recorded, "their states count in an int"
    assert (sum(reply.num_searches for reply in wanted) > 20) == (regime == "retrieval")


@pytest.mark.parametrize("fault", ["nothing", "wrong", "late"])
@pytest.mark.parametrize("name", ["searches", "searches its tape"])
def test_faults_reach_the_model_and_it_goes_on_with_them(name, fault):
    """What stands behind each search is what the retriever finds in the context that it may see."""
    theorem, task, regime, sizes = CONSTRUCTED[name]
    samples, model = task.sample(3, ROWS, np.resize(sizes, 6), regime), theorem.write(task.vocabulary)
    retriever = FaultyRetriever(0.5, fault, SEARCH, lag=12 if fault == "late" else None)
    asked = []

    def recorded(context, query, vocabulary):
        asked.append(retriever(context, query, vocabulary).tolist())
        return np.array(asked[-1], np.int32)

    replies = decode(ModelGraphs(model, Recorder()), samples, task, recorded, 200)
    written = ((token, author) for reply in replies for token, author in zip(reply.tokens, reply.author, strict=True))
    found = [token for token, author in written if author == Author.RETRIEVER]
    assert sorted(found) == sorted(chain(*asked)) and len(found) > 10
    assert decode(model, samples, task, retriever, 200) == replies
    assert decode(model, samples, task, SEARCH, 200) != replies


class Growing(nn.Module):
    """The mean of all tokens so far, and their number."""

    def __init__(self, hidden_size, layer_idx):
        super().__init__()

    def forward(self, x, state=None):
        total, count = (0, 0) if state is None else state
        sums = total + x.cumsum(1)
        counts = count + torch.arange(1, x.shape[1] + 1)[:, None]
        return sums / counts, (sums[:, -1:], count + x.shape[1])


def test_a_state_that_counts_in_an_int_is_not_recorded():
    model, record = make_model(Growing), Recorder()
    assert play(Forgetful(model)) != play(model)
    assert play(ModelGraphs(model, record)) == play(model)
    assert not record.recorded


def test_weights_in_other_memory_are_recorded_again():
    model, record = make_model(), Recorder()
    graphs = ModelGraphs(model, record)
    play(graphs)
    recorded = record.recorded
    with torch.no_grad():
        for one in model.parameters():
            one.mul_(1.1)
    fresh = Recorder()
    assert play(graphs) == play(ModelGraphs(model, fresh)) == play(model)
    assert record.recorded < recorded + fresh.recorded, "steps of the same form are not recorded again"
    recorded = record.recorded
    model.mixers[0].D = nn.Parameter(torch.randn_like(model.mixers[0].D))
    assert play(graphs) == play(model) and record.recorded > recorded


def test_what_cant_be_recorded_runs_as_it_is_after_a_warning():
    def refuse(step):
        raise RuntimeError("operation not permitted when stream is capturing")

    model = make_model()
    with pytest.warns(UserWarning, match="runs without: operation not permitted") as warned:
        assert play(ModelGraphs(model, refuse)) == play(model)
    assert len(warned) == 1
