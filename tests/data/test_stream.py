from dataclasses import fields

import numpy as np
import pytest
import torch
from catalogue import TASKS
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from lit_retrieval.data import BatchDataset, BatchIndices, FileDataset, collate
from lit_retrieval.data.stream import FiniteBatchIndices, Passes
from lit_retrieval.errors import UserError
from lit_retrieval.tasks import REGIMES, Author, IsTree, SampleStream, load_samples, save_samples


@given(batch_size=st.integers(1, 40), num_samples=st.integers(0, 200), world_size=st.integers(1, 5))
def test_ranks_share_the_samples_and_none_comes_twice(batch_size, num_samples, world_size):
    shares = [FiniteBatchIndices(batch_size, num_samples, rank, world_size) for rank in range(world_size)]
    taken = [index for share in shares for indices in share for index in indices.tolist()]
    assert sorted(taken) == list(range(num_samples))
    assert [len(share) for share in shares] == [len(list(share)) for share in shares]


def test_a_length_takes_no_time():
    assert len(FiniteBatchIndices(3, 10**15, rank=1, world_size=2)) == 333_333_333_333_333


def first(sampler, count):
    return [indices for indices, _ in zip(sampler, range(count), strict=False)]


@given(world_size=st.sampled_from([1, 2, 4, 8]), first_batch=st.integers(0, 50))
def test_global_batches_are_the_same_for_any_number_of_ranks(world_size, first_batch):
    ranks = [
        first(BatchIndices(16, rank, world_size, first_sample=lambda: 16 * first_batch), 3)
        for rank in range(world_size)
    ]
    for batch in range(3):
        together = sorted(index for rank in ranks for index in rank[batch].tolist())
        start = 16 * (first_batch + batch)
        assert together == list(range(start, start + 16))


def test_a_batch_that_cannot_be_shared_evenly_is_refused():
    with pytest.raises(UserError, match=r"must be a multiple of 4, the number of ranks, got 6; set data\.batch_size"):
        BatchIndices(6, 0, 4)


def stream(split="fit", seed=0, sizes=(4, 6)):
    return BatchDataset(SampleStream(IsTree(max_size=8), "cot", list(sizes), seed, split))


def assert_workers_change_nothing(name, regime, batch_size, num_workers):
    task, sizes = TASKS[name]
    samples = BatchDataset(SampleStream(task, regime, sizes, 0, "fit"))
    sampler = FiniteBatchIndices(batch_size, 32)
    loader = DataLoader(samples, sampler=sampler, batch_size=None, num_workers=num_workers)
    for indices, theirs in zip(sampler, loader, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(samples[indices], theirs, strict=True))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than this machine has cores
@settings(max_examples=8, deadline=None)
@given(num_workers=st.integers(0, 3), regime=st.sampled_from(REGIMES), batch_size=st.integers(1, 40))
@example(num_workers=3, regime="retrieval", batch_size=1)
def test_workers_do_not_change_the_samples(num_workers, regime, batch_size):
    assert_workers_change_nothing("mixture", regime, batch_size, num_workers)


@pytest.mark.parametrize("name", TASKS)
def test_a_worker_writes_the_samples_of_every_task(name):
    assert_workers_change_nothing(name, TASKS[name][0].regimes[-1], batch_size=16, num_workers=1)


def assert_same_but_for_padding(ours, theirs):
    """The words or answers of a row; how far it is filled up depends on the longest row beside it."""
    ours, theirs = np.atleast_1d(ours), np.atleast_1d(theirs)
    common = min(len(ours), len(theirs))
    assert ours.dtype == theirs.dtype and (ours[:common] == theirs[:common]).all()
    assert not ours[common:].any() and not theirs[common:].any()


@pytest.mark.parametrize("name", TASKS)
@settings(max_examples=5, deadline=None)
@given(batch_size=st.integers(1, 9), world_size=st.integers(1, 4), place=st.integers(0, 2))
def test_a_sample_is_the_same_in_any_batch_of_any_rank(name, batch_size, world_size, place):
    task, sizes = TASKS[name]
    samples = BatchDataset(SampleStream(task, task.regimes[place % len(task.regimes)], sizes, 3, "fit"))
    whole = samples[np.arange(12)].transcripts()
    for rank in range(world_size):
        for indices in FiniteBatchIndices(batch_size, 12, rank, world_size):
            batch = samples[indices].transcripts()
            for row, index in enumerate(indices):
                for field in fields(whole):
                    ours, theirs = getattr(batch, field.name)[row], getattr(whole, field.name)[index]
                    assert_same_but_for_padding(ours, theirs)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_workers_see_a_size_that_is_entered_while_they_run(num_workers):
    first_samples = torch.tensor([0, 2**62]).share_memory_()
    samples = BatchDataset(SampleStream(IsTree(max_size=8), "vanilla", [4, 8], 0, "fit"), first_samples)
    loader = iter(DataLoader(samples, sampler=BatchIndices(16), batch_size=None, num_workers=num_workers))
    drawn = [next(loader).sizes]
    first_samples[1] = 16 * 20  # far enough ahead of what workers have fetched
    drawn += [next(loader).sizes for _ in range(39)]
    assert all((sizes == 4).all() for sizes in drawn[:20]) and any((sizes == 8).any() for sizes in drawn[20:])


def test_sizes_are_drawn_evenly_and_belong_to_the_sample():
    sizes = stream()[np.arange(4000)].sizes
    assert abs((sizes == 4).float().mean() - 0.5) < 0.05
    assert (stream()[np.arange(100, 200)].sizes == sizes[100:200]).all()


def test_splits_and_seeds_have_samples_of_their_own():
    tokens = [stream(split, seed)[np.arange(64)].tokens.tolist() for split in ("fit", "validate") for seed in (0, 1)]
    assert len({str(batch) for batch in tokens}) == 4


def file_stream(tmp_path, seed, count=10):
    task = IsTree(max_size=8)
    save_samples(
        tmp_path / "samples.npz",
        task.vocabulary,
        [SampleStream(task, "cot", [4, 8], 0, "fit").take(np.arange(count))],
        {"regime": "cot"},
    )
    return FileDataset(load_samples(tmp_path / "samples.npz"), seed)


def test_each_pass_over_a_file_has_every_sample_once_in_another_order(tmp_path):
    samples = file_stream(tmp_path, seed=1)
    passes = [[tuple(row) for row in samples[np.arange(start, start + 10)].tokens.tolist()] for start in (0, 10)]
    assert sorted(passes[0]) == sorted(passes[1]) and passes[0] != passes[1]
    across = [tuple(row) for row in samples[np.arange(5, 15)].tokens.tolist()]
    assert across == passes[0][5:] + passes[1][:5], "a batch may lie in two passes"


def test_a_file_without_a_seed_keeps_its_order(tmp_path):
    samples = file_stream(tmp_path, seed=None)
    assert (samples[np.arange(10)].tokens == stream(sizes=(4, 8))[np.arange(10)].tokens).all()


def test_a_batch_goes_back_to_the_transcripts_it_came_from():
    task = IsTree(max_size=8)
    batch = stream()[np.arange(16)]
    transcripts = batch.transcripts()
    again = task.sample(stream().samples.seed, np.arange(16), transcripts.sizes, "cot")
    for field in fields(transcripts):
        ours, theirs = getattr(transcripts, field.name), getattr(again, field.name)
        assert (ours == theirs).all() and ours.dtype == theirs.dtype


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_fixed_number_of_samples_is_repeated_in_new_orders(num_workers):
    samples = BatchDataset(stream().samples, passes=Passes(10, seed=1))
    loader = iter(DataLoader(samples, sampler=BatchIndices(4), batch_size=None, num_workers=num_workers))
    rows = [tuple(filter(None, row)) for _ in range(5) for row in next(loader).tokens.tolist()]
    first = [tuple(filter(None, row)) for row in stream()[np.arange(10)].tokens.tolist()]
    assert sorted(rows[:10]) == sorted(rows[10:]) == sorted(first) and rows[:10] != rows[10:]


@pytest.mark.parametrize("name", ["mad_in_context_recall", "mad_compression", "parity", "is_tree_binary"])
def test_every_token_may_be_a_target(name):
    task, sizes = TASKS[name]
    transcripts = task.sample(0, np.arange(16), np.resize(sizes, 16), task.regimes[-1])
    batch = collate(transcripts, every_token=True)
    answers = [iter(transcripts.answers_of(row)) for row in range(16)]
    expected = [
        (row * (transcripts.tokens.shape[1] - 1) + at - 1,
         next(answers[row]) if transcripts.author[row, at] == Author.ASKED else transcripts.tokens[row, at])
        for row in range(16) for at in range(1, transcripts.length[row])
    ]  # fmt: skip
    assert list(zip(batch.positions.tolist(), batch.targets.tolist(), strict=True)) == expected
