import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_retrieval.tasks import REGIMES, AssociativeRecall, IsTree
from lit_retrieval.tasks.random import derive_seed

TASKS = {
    "binary": IsTree(max_size=16),
    "random": IsTree(max_size=16, graphs="random"),
    "recall": AssociativeRecall(num_keys=16, num_values=4, num_queries=2),
}


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(TASKS)), regime=st.sampled_from(REGIMES), seed=st.integers(0, 2**64 - 1),
    rows=st.lists(st.tuples(st.integers(0, 2**40), st.sampled_from([4, 8, 16])), min_size=1, max_size=8),
)  # fmt: skip
def test_a_sample_does_not_depend_on_the_others_in_its_batch(name, regime, seed, rows):
    task = TASKS[name]
    indices, sizes = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    together = task.sample(seed, indices, sizes, regime)
    for row in range(len(rows)):
        alone = task.sample(seed, indices[row : row + 1], sizes[row : row + 1], regime)
        assert alone.length[0] == together.length[row] == alone.tokens.shape[1]
        assert (alone.tokens[0] == together.tokens[row, : alone.length[0]]).all()
        assert (alone.author[0] == together.author[row, : alone.length[0]]).all()
        assert not together.tokens[row, alone.length[0] :].any(), "what follows a row is padding"
        assert (alone.answers[0] == together.answers[row]).all()


@pytest.mark.parametrize("name", sorted(TASKS))
def test_other_seeds_and_indices_give_other_samples(name):
    def prompts(seed, start):
        return TASKS[name].sample(seed, np.arange(start, start + 500), np.full(500, 16), "vanilla").tokens

    for other in (prompts(1, 0), prompts(0, 500)):
        assert (prompts(0, 0) == other).all(1).mean() < 0.01


def test_seeds_of_two_purposes_differ():
    seeds = {derive_seed(seed, split) for seed in range(100) for split in ("fit", "validate", "test", "predict")}
    assert len(seeds) == 400 and max(seeds) < 2**64


def test_turns_are_the_runs_of_the_prompts_author():
    transcripts = TASKS["recall"].sample(0, np.arange(1), np.full(1, 8), "cot")
    first, second = transcripts.turns(0)
    assert len(first) == transcripts.prompt_length[0] == 11 and len(second) == 1
