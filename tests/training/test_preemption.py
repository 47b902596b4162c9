import signal
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch

from lit_retrieval.errors import PREEMPTED, RunEndedError
from lit_retrieval.training import LastCheckpoint, Preemption, SequenceModule
from lit_retrieval.training.global_step import GlobalStep
from lit_retrieval.training.preemption import SIGNALS


class Rank:
    """One rank of several, between two optimizer steps."""

    def __init__(self, ranks):
        progress = SimpleNamespace(current=SimpleNamespace(completed=8))
        self.last = Mock(spec=LastCheckpoint)
        self.trainer = SimpleNamespace(
            world_size=ranks, accumulate_grad_batches=2, global_step=0, checkpoint_callbacks=[self.last],
            strategy=SimpleNamespace(root_device=torch.device("cpu")),
            fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
        )  # fmt: skip
        self.module = Mock(spec=SequenceModule, whole_step=GlobalStep(self.trainer, 1))
        self.module.whole_step._waits = True  # as on a GPU
        self.preemption = Preemption()

    def ending(self, step=10, batches=8):
        """The error with which the rank stops before its next batch; None if it does not stop."""
        self.trainer.global_step = step
        self.trainer.fit_loop.epoch_loop.batch_progress.current.completed = batches
        try:
            self.preemption.on_train_batch_start(self.trainer, self.module, None, batches)
        except RunEndedError as error:
            return error
        return None


def share(monkeypatch, ranks):
    """Take an optimizer step on all ranks: each adds its signal, and the sums are those over all ranks."""
    for rank in ranks:
        rank.preemption.on_before_optimizer_step(rank.trainer, rank.module, None)
    total = sum(torch.tensor(list(rank.module.whole_step._sums.values())) for rank in ranks)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda sums: sums.copy_(total))
    for rank in ranks:
        rank.module.whole_step.totals = rank.module.whole_step._sum_over_ranks()


@pytest.mark.parametrize("asked", [0, 1])
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_all_ranks_stop_at_the_same_checked_step_after_a_signal_to_one(monkeypatch, number, asked):
    ranks = [Rank(2), Rank(2)]
    monkeypatch.setattr(signal, "signal", lambda *arguments: None)
    ranks[asked].preemption._note(number, None)
    share(monkeypatch, ranks)
    for rank in ranks:
        assert [step for step in range(1, 31) if rank.ending(step)] == [10, 20, 30]
        assert rank.ending(batches=9) is None, "half of a step's gradients are accumulated"
        ending = rank.ending()
        assert str(ending).startswith(f"stopped by {number.name} after 10 steps")
        assert ending.status == (130 if number == signal.SIGINT else PREEMPTED)
        rank.last.save.assert_called_with(rank.trainer)


def test_ranks_without_a_signal_or_a_step_do_not_stop(monkeypatch):
    ranks = [Rank(2), Rank(2)]
    assert not any(rank.ending() for rank in ranks)
    share(monkeypatch, ranks)
    assert not any(rank.ending() for rank in ranks)


def test_one_rank_stops_before_its_next_step():
    alone = Rank(1)
    assert alone.ending(step=3) is None
    alone.preemption._note(signal.SIGTERM, None)
    assert alone.ending(step=3, batches=9) is None and alone.ending(step=3).status == PREEMPTED
