from dataclasses import fields

import numpy as np
import pytest
from catalogue import CASES, TASKS, missing
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import check_bounds

from lit_retrieval.tasks.drawn_task import DrawnTask
from lit_retrieval.tasks.random import derive_seed

# Tasks whose longest replies are rare, or whose bound is not reached in some regimes.
RARELY_LONG = {
    "composite_recall", "equation", "joint_recall", "mad_in_context_recall", "mad_noisy_in_context_recall_full",
    "mad_fuzzy_in_context_recall", "mad_fuzzy_in_context_recall_full", "associative_recall_4", "read_again",
    "associative_recall_newest", "stacks", "selectivity", "index_separated",
}  # fmt: skip
PADDED = {"tokens", "author", "answers", "distances"}


@pytest.mark.parametrize("name", TASKS)
@settings(max_examples=15, deadline=None)
@given(
    place=st.integers(0, 2), seed=st.integers(0, 2**64 - 1),
    rows=st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2)), min_size=1, max_size=8),
)  # fmt: skip
def test_a_sample_does_not_depend_on_the_others_in_its_batch(name, place, seed, rows):
    task, choices = TASKS[name]
    regime = task.regimes[place % len(task.regimes)]
    indices, sizes = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    sizes = np.array(choices, np.int64)[sizes % len(choices)]
    together = task.sample(seed, indices, sizes, regime)
    for row in range(len(rows)):
        alone = task.sample(seed, indices[row : row + 1], sizes[row : row + 1], regime)
        assert alone.length[0] == together.length[row] == alone.tokens.shape[1]
        for field in fields(alone):
            ours, theirs = getattr(alone, field.name)[0], getattr(together, field.name)[row]
            if field.name in PADDED:
                assert not theirs[len(ours) :].any(), "what follows a row is padding"
                theirs = theirs[: len(ours)]
            assert (ours == theirs).all() and ours.dtype == theirs.dtype, field.name


@pytest.mark.parametrize("name", TASKS)
def test_other_seeds_and_indices_give_other_samples(name):
    task, sizes = TASKS[name]

    def prompts(seed, start):
        return task.sample(seed, np.arange(start, start + 200), np.full(200, sizes[-1]), "vanilla").tokens

    first = prompts(0, 0)
    for other in (prompts(1, 0), prompts(0, 200)):
        width = min(first.shape[1], other.shape[1])
        assert (first[:, :width] == other[:, :width]).all(1).mean() < 0.02


@pytest.mark.parametrize(("name", "regime"), CASES)
def test_what_a_task_promises_about_its_transcripts_is_kept(name, regime):
    task, sizes = TASKS[name]
    for size in sizes:
        check_bounds(task, size, regime, 300)
    transcripts = task.sample(0, np.arange(300), np.resize(sizes, 300), regime)
    answers = transcripts.answers[transcripts.answers != 0]
    assert np.isin(answers, task.answer_words).all() and transcripts.answers[:, 0].all()
    assert task.longest_distance(size, regime) or not transcripts.distances.any()


def test_seeds_of_two_purposes_differ():
    seeds = {derive_seed(seed, split) for seed in range(100) for split in ("fit", "validate", "test", "predict")}
    assert len(seeds) == 400 and max(seeds) < 2**64


def test_turns_are_the_runs_of_the_prompts_author():
    transcripts = TASKS["associative_recall_4"][0].sample(0, np.arange(1), np.full(1, 8), "cot")
    first, *later = transcripts.turns(0)
    assert len(first) == transcripts.prompt_length[0] == 11 and [len(turn) for turn in later] == [1, 1, 1]


def test_every_exported_task_is_in_the_catalogue():
    assert not missing(type(task).__name__ for task, _ in TASKS.values())


@pytest.mark.parametrize("name", [name for name, (task, _) in TASKS.items() if not isinstance(task, DrawnTask)])
def test_the_longest_reply_is_that_of_some_sample(name):
    """At the smallest size, where a few hundred samples have nearly all lengths."""
    task, sizes = TASKS[name]
    for regime in task.regimes:
        found = task.sample(1, np.arange(300), np.full(300, sizes[0]), regime)
        longest, said = int((found.length - found.prompt_length).max()), task.longest_reply(sizes[0], regime)
        assert longest <= said <= (3 if name in RARELY_LONG else 1) * longest
