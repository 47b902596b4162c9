import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from lit_retrieval.conversation import UNDECIDED, Replies
from lit_retrieval.data import TranscriptData
from lit_retrieval.mixers import Mamba
from lit_retrieval.models import Stage
from lit_retrieval.tasks import AssociativeRecall
from lit_retrieval.training import RightAnswers, SequenceModule
from lit_retrieval.training.right_answers import NAME


def test_they_are_those_that_are_scored_in_the_order_of_the_samples(tmp_path, monkeypatch):
    task = AssociativeRecall()
    torch.manual_seed(0)
    module = SequenceModule(len(task.vocabulary), 8, [Stage([Mamba])])
    data = TranscriptData(task, "vanilla", sizes=[8, 16], test_samples=40, eval_batch_size=7)
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path / "run",
        use_distributed_sampler=False, callbacks=[RightAnswers()], enable_checkpointing=False,
    )  # fmt: skip
    samples = data.stream("test").take(np.arange(40))
    is_right = np.random.default_rng(0).random(40) < 0.3
    answers = dict(zip(map(bytes, samples.tokens), np.where(is_right, samples.answers[:, 0], UNDECIDED), strict=True))

    def decode(batch):
        """Replies whose answer is right for some samples, and missing for the others."""
        rows = batch.transcripts()
        padded = np.pad(rows.tokens, ((0, 0), (0, samples.tokens.shape[1] - rows.tokens.shape[1])))
        given = np.array([[answers[bytes(row)]] for row in padded], np.int32)
        return Replies(rows.tokens, rows.author, rows.length, given, *np.zeros((2, len(rows)), np.int64))

    monkeypatch.setattr(module, "decode", decode)
    (scores,) = trainer.test(module, data, verbose=False)
    found = np.load(tmp_path / "run" / NAME)
    assert found["sizes"].tolist() == samples.sizes.tolist()
    assert found["asked"].tolist() == [1] * 40
    assert found["right"].tolist() == is_right.tolist() and 5 < is_right.sum() < 20
    assert found["right"].mean() == pytest.approx(scores["test/closed_loop_accuracy"])


@pytest.mark.slow
def test_two_ranks_write_what_one_writes(tmp_path):
    command = [
        sys.executable, "-m", "lit_retrieval", "test", "--data.task", "AssociativeRecall", "--data.sizes", "[8,16]",
        "--data.test_samples", "11", "--data.eval_batch_size", "4", "--data.regime", "vanilla",
        "--model.hidden_size", "8", "--model.stages", "[{mixers: [lit_retrieval.mixers.Mamba]}]",
        "--trainer.accelerator", "cpu", "--trainer.callbacks+", "lit_retrieval.training.RightAnswers",
        "--seed_everything", "0",
    ]  # fmt: skip
    found = []
    for devices in ("1", "2"):
        run = ["--trainer.devices", devices, "--run_dir", str(tmp_path / devices)]
        subprocess.run([*command, *run], check=True, timeout=300)
        with np.load(Path(tmp_path, devices, NAME)) as arrays:
            found.append({name: arrays[name].tolist() for name in arrays})
    assert found[0] == found[1] and len(found[0]["right"]) == 11
