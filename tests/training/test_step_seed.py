from types import SimpleNamespace

import pytest
import torch

from lit_retrieval.training import StepSeed


@pytest.fixture
def drawn(monkeypatch):
    """The random numbers of a training batch."""

    def draw(batch=0, rank=0, seed=0):
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        progress = SimpleNamespace(total=SimpleNamespace(processed=batch))
        loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
        StepSeed().on_train_batch_start(SimpleNamespace(fit_loop=loop, global_rank=rank), None, None, 0)
        return tuple(torch.rand(4).tolist())

    with torch.random.fork_rng():
        yield draw


def test_a_batch_has_the_same_random_numbers_again(drawn):
    first = drawn(batch=7, rank=1, seed=3)
    drawn(batch=8)
    assert drawn(batch=7, rank=1, seed=3) == first


def test_batch_rank_and_seed_change_the_random_numbers(drawn):
    cases = [(batch, rank, seed) for batch in range(3) for rank in range(2) for seed in range(2)]
    assert len({drawn(*case) for case in cases}) == len(cases)
