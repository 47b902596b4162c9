"""Answers beside the tokens of a batch, from calls on some of its rows."""

import numpy as np
import pytest
import torch
from catalogue import TASKS

from lit_retrieval.decoding import beside
from lit_retrieval.decoding.beside import answer_beside
from lit_retrieval.mixers import Mamba
from lit_retrieval.models import SequenceModel, Stage

ROWS = 7


@pytest.mark.parametrize("name", ["mqar", "parity"])
@pytest.mark.parametrize(("rows_of_logits", "calls"), [(0.5, 7), (1, 7), (2, 4), (3.5, 3), (100, 1)])
def test_rows_read_in_parts_answer_as_all_at_once(monkeypatch, name, rows_of_logits, calls):
    task, sizes = TASKS[name]
    transcripts = task.sample(0, np.arange(ROWS), np.resize(sizes, ROWS), "vanilla")
    torch.manual_seed(0)
    model = SequenceModel(len(task.vocabulary), 8, [Stage([Mamba])]).eval()
    shapes = []

    def seen(tokens, state=None, positions=None):
        logits, state = model(tokens, state, positions)
        shapes.append(logits.shape)
        return logits, state

    expected = answer_beside(model, transcripts, len(task.vocabulary))
    most_logits = rows_of_logits * len(task.vocabulary) * int((transcripts.answers != 0).sum(1).max())
    monkeypatch.setattr(beside, "_MOST_LOGITS", int(most_logits))
    assert list(answer_beside(seen, transcripts, len(task.vocabulary))) == list(expected)
    assert len(shapes) == calls and (max(shape.numel() for shape in shapes) <= most_logits or calls == ROWS)
