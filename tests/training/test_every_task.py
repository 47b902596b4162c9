"""Every task meets everything that reads its answers, in batches whose rows have different numbers of them."""

import pytest
import torch
from catalogue import CASES, TASKS
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from lit_retrieval.data import TranscriptData
from lit_retrieval.mixers import LinearRNN
from lit_retrieval.models import Stage
from lit_retrieval.training import Inspection, SequenceModule, TranscriptPrinter

# One regime of each task, and each regime with a third of them: the others are as long.
QUICK = {(name, task.regimes[place % len(task.regimes)]) for place, (name, (task, _)) in enumerate(TASKS.items())}


@pytest.mark.parametrize(
    ("name", "regime"),
    [pytest.param(*case, marks=[] if tuple(case) in QUICK else [pytest.mark.slow]) for case in CASES],
)
def test_two_sizes_in_a_batch_are_scored_drawn_and_printed(name, regime, tmp_path, capsys):
    task, sizes = TASKS[name]
    torch.manual_seed(0)
    module = SequenceModule(len(task.vocabulary), 8, [Stage([LinearRNN])])
    data = TranscriptData(
        task, regime, sizes[-2:], val_samples=8, predict_samples=8, max_new_tokens=task.shortest_reply(regime) + 3
    )
    trainer = Trainer(
        accelerator="cpu", logger=TensorBoardLogger(tmp_path), callbacks=[Inspection(), TranscriptPrinter()],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    (scores,) = trainer.validate(module, data, verbose=False)
    trainer.predict(module, data)
    printed = capsys.readouterr().out
    assert 0 <= scores["val/closed_loop_accuracy"] <= scores["val/paper_score"] <= 1
    assert {f"val/size_{size}/loss" for size in sizes[-2:]} <= scores.keys()
    assert printed.count(" right") == 8
