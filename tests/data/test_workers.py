"""What is handed to data-loader workers, by every start method: fork, spawn (macOS), forkserver (Python 3.14)."""

import multiprocessing
import pickle
import time
from dataclasses import fields

import numpy as np
import pytest
from catalogue import TASKS
from torch.utils.data import get_worker_info

from lit_retrieval.cli.endings import LOST, ending
from lit_retrieval.data import BatchDataset, FileDataset, TranscriptData, transcript_data
from lit_retrieval.retrieval import EitherFormRetriever, RegularExpressionRetriever, ShortFormRetriever
from lit_retrieval.tasks import Index, IsTree, SampleStream, load_samples, save_samples

INDICES = np.arange(8)
RETRIEVERS = [EitherFormRetriever(), RegularExpressionRetriever(), ShortFormRetriever()]


def again(value):
    return pickle.loads(pickle.dumps(value))


def write(path, name="is_tree_binary"):
    task, sizes = TASKS[name]
    save_samples(
        path, task.vocabulary, [SampleStream(task, "cot", sizes, 0, "fit").take(np.arange(10))], {"regime": "cot"}
    )
    return path


def assert_same(one, other):
    assert all((mine == theirs).all() for mine, theirs in zip(one, other, strict=True))


@pytest.mark.parametrize("name", TASKS)
def test_the_stream_of_every_task_is_pickled(name):
    task, sizes = TASKS[name]
    stream = BatchDataset(SampleStream(task, task.regimes[-1], sizes, 0, "fit"))
    assert_same(again(stream)[INDICES], stream[INDICES])


@pytest.mark.parametrize("name", ["is_tree_binary", "mixture", "own_task"])
def test_a_file_is_pickled_before_and_after_it_is_read(name, tmp_path):
    stream = FileDataset(load_samples(write(tmp_path / "samples.npz", name)), seed=1)
    unread = pickle.dumps(stream)
    batch = stream[INDICES + 7]
    assert_same(pickle.loads(unread)[INDICES + 7], batch)
    assert_same(again(stream)[INDICES + 7], batch)
    ours, theirs = stream.samples.take(INDICES), again(stream.samples).take(INDICES)
    assert all((getattr(ours, field.name) == getattr(theirs, field.name)).all() for field in fields(ours))


@pytest.mark.parametrize("retriever", RETRIEVERS, ids=lambda retriever: type(retriever).__name__)
def test_every_retriever_is_pickled(retriever):
    assert type(again(retriever)) is type(retriever)


@pytest.mark.parametrize(
    ("method", "is_file"),
    [
        ("fork", False), ("fork", True), ("spawn", True),
        # A worker that is not forked imports torch by itself.
        *(pytest.param(*case, marks=pytest.mark.slow) for case in
          [("forkserver", False), ("forkserver", True), ("spawn", False)]),
    ],
)  # fmt: skip
def test_workers_of_every_start_method_write_the_same_samples_and_end_with_training(method, is_file, tmp_path):
    multiprocessing.set_forkserver_preload(["lit_retrieval.data"])  # imported once, not by each worker
    file = write(tmp_path / "samples.npz") if is_file else None
    task = IsTree(max_size=16)
    alone, shared = (
        TranscriptData(task, "cot", [4, 8], batch_size=4, train_file=file, num_workers=count).train_dataloader()
        for count in (0, 1 if method == "spawn" else 2)  # which imports torch in each
    )
    shared.multiprocessing_context = method
    batches = iter(shared)
    for mine, _ in zip(alone, range(5), strict=False):
        assert_same(mine, next(batches))
    for worker in batches._workers:
        worker.terminate()  # by this process, which stands for training
        worker.join(30)
        assert worker.exitcode == 0, "it ends in order"


class Stuck(Index):
    """A task that a worker never ends to write."""

    def write(self, seed, indices, sizes, regime):
        if get_worker_info() is not None:
            time.sleep(60)
        return super().write(seed, indices, sizes, regime)


def test_a_worker_that_gives_nothing_ends_the_run_in_one_line(monkeypatch):
    monkeypatch.setattr(transcript_data, "_PATIENCE", 1)
    data = TranscriptData(Stuck(16), "vanilla", [4], batch_size=2, num_workers=1)
    with pytest.raises(RuntimeError, match="DataLoader timed out after 1 seconds") as raised:
        next(iter(data.train_dataloader()))
    line, status = ending(raised.value)
    assert status == LOST and "the same command resumes the run" in line
