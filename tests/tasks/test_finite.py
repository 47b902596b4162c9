"""A task that reads its problems from a file is evaluated on each of them at each size."""

import numpy as np
import pytest

from lit_retrieval.data import TranscriptData
from lit_retrieval.errors import UserError
from lit_retrieval.tasks import SampleStream, Turn, WordTask


class Listed(WordTask):
    """Five problems; the prompt says which, and of which size."""

    num_problems = 5

    def __init__(self):
        super().__init__([f"n{one}" for one in range(9)] + ["yes"], ["yes"])
        self.asked = []

    def write(self, seed, indices, sizes, regime):
        self.asked += zip(indices.tolist(), sizes.tolist(), strict=True)
        return super().write(seed, indices, sizes, regime)

    def draw(self, rng, size):
        return size

    def write_turns(self, problem, regime):
        return [Turn(f"<s> n{problem}", "yes")]


@pytest.mark.parametrize("split", ["validate", "test", "predict"])
def test_problems_come_in_turn_at_each_size(split):
    stream = SampleStream(Listed(), "vanilla", {4: 1.0, 2: 3.0}, 0, split)
    assert stream.num_samples == 10 and stream.by_size(5).tolist() == [0, 2, 4, 1, 3]
    stream.take(np.array([3, 0, 9]))
    assert stream.task.asked == [(1, 4), (0, 2), (4, 4)]
    with pytest.raises(UserError, match="samples must be 10 or less, got 11; set samples"):
        stream.take(np.arange(11))


def test_training_samples_are_drawn_without_end():
    stream = SampleStream(Listed(), "vanilla", [2, 4], 0, "fit")
    assert stream.num_samples is None and stream.by_size(4) is None
    stream.take(np.arange(64))
    assert [index for index, _ in stream.task.asked] == list(range(64))
    assert len({size for _, size in stream.task.asked[::2]}) == 2


def test_an_evaluation_has_each_once_and_rows_of_a_size_together():
    data = TranscriptData(Listed(), "vanilla", [2], eval_sizes=[2, 3, 4], eval_batch_size=5, test_samples=5000)
    batches = list(data.test_dataloader())
    assert [batch.sizes.tolist() for batch in batches] == [[2] * 5, [3] * 5, [4] * 5]
    assert sorted(data.task.asked[-15:]) == [(problem, size) for problem in range(5) for size in (2, 3, 4)]
    fewer = TranscriptData(Listed(), "vanilla", [2, 3], test_samples=3)
    assert [batch.sizes.tolist() for batch in fewer.test_dataloader()] == [[2, 2, 3]]


def test_weights_that_would_not_be_used_are_refused():
    with pytest.raises(UserError, match=r"Listed is scored on each of its .*; write a list in data\.eval_sizes"):
        TranscriptData(Listed(), "vanilla", [2], eval_sizes={2: 3, 4: 1})
    TranscriptData(Listed(), "vanilla", {2: 3, 4: 1})
