"""Answers beside the tokens of a batch, from calls on some of its rows."""

import numpy as np
import pytest
import torch
from catalogue import TASKS

from lit_retrieval.conversation import UNDECIDED, words_with_answers
from lit_retrieval.decoding import beside
from lit_retrieval.decoding.beside import answer_beside
from lit_retrieval.mixers import Mamba
from lit_retrieval.models import SequenceModel, Stage
from lit_retrieval.training.marked_transcript import first_wrong, markdown
from lit_retrieval.training.transcript_printer import render, verdict

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


def test_an_answer_of_padding_is_undecided_and_shown():
    """As of logits that are not numbers: a reply keeps the number of its answers."""
    task, sizes = TASKS["parity"]
    transcripts = task.sample(0, np.arange(ROWS), np.resize(sizes, ROWS), "vanilla")

    def empty(tokens, state=None, positions=None):
        return torch.full((len(positions), len(task.vocabulary)), torch.nan), None

    replies = answer_beside(empty, transcripts, len(task.vocabulary))
    for row, reply in enumerate(replies):
        right = transcripts.reply(row)
        assert reply.answers == [UNDECIDED] * len(right.answers)
        assert any(word.startswith("{undecided}") for word in words_with_answers(reply, task.vocabulary))
        assert "undecided, not" in verdict(reply, right, task).plain and first_wrong(reply, right)[1] == UNDECIDED
        assert "nothing" in markdown(reply, right, task)
        assert render(reply, task.vocabulary, collapses=True)
