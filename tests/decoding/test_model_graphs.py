"""Decoding with recorded steps writes what decoding without writes; the recorder here runs a step again."""

import numpy as np
import pytest
import torch
from torch import nn

from lit_retrieval.decoding import ModelGraphs, decode
from lit_retrieval.mixers import LSTM, Attention, Mamba
from lit_retrieval.models import SequenceModel, Stage
from lit_retrieval.retrieval import EitherFormRetriever
from lit_retrieval.tasks import IsTree

TASK = IsTree(max_size=6)


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
    torch.manual_seed(1)
    return SequenceModel(len(TASK.vocabulary), 16, [Stage([mixer], repeat=2)]).eval()


def play(model, rows=11):
    samples = TASK.sample(0, np.arange(rows), np.resize([4, 6], rows), "cot")
    return decode(model, samples, TASK, EitherFormRetriever(), 40)


@pytest.mark.parametrize("mixer", [Mamba, LSTM])
def test_recorded_steps_write_the_same(mixer):
    model, record = make_model(mixer), Recorder()
    graphs = ModelGraphs(model, record)
    wanted = play(model)
    assert play(graphs) == wanted
    recorded, run = record.recorded, record.run
    assert run > 20 and 1 <= recorded <= 5, "one for each power of two up to 16"
    assert play(graphs) == wanted and play(graphs, rows=9) == play(model, rows=9)
    assert record.recorded - recorded <= 1 and record.run > 2 * run


def test_a_state_that_grows_is_not_recorded():
    model, record = make_model(Attention), Recorder()
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
    assert play(graphs) == play(model) and record.recorded == recorded
    model.mixers[0].D = nn.Parameter(torch.randn_like(model.mixers[0].D))
    assert play(graphs) == play(model) and record.recorded > recorded


def test_what_cant_be_recorded_runs_as_it_is_after_a_warning():
    def refuse(step):
        raise RuntimeError("operation not permitted when stream is capturing")

    model = make_model()
    with pytest.warns(UserWarning, match="runs without: operation not permitted") as warned:
        assert play(ModelGraphs(model, refuse)) == play(model)
    assert len(warned) == 1
