import json
from types import SimpleNamespace

import numpy as np
import pytest
from broken_tasks import Parity, Short

from lit_retrieval.data import Suite, TranscriptData
from lit_retrieval.data.suite import hash_samples
from lit_retrieval.errors import UserError
from lit_retrieval.tasks import (
    AssociativeRecall,
    Author,
    IsTree,
    KHops,
    Mixture,
    ReadAgain,
    SampleStream,
    SetDisjointness,
    describe,
    load_samples,
    save_samples,
)
from lit_retrieval.tasks.drawn_task import DrawnTask
from lit_retrieval.tasks.sample_file import manifest_path
from lit_retrieval.vocabulary import FIRST_WORD, Vocabulary

TASK = IsTree(max_size=16)


def test_evaluation_is_the_same_every_time_and_training_goes_on():
    data = TranscriptData(TASK, "cot", [8], batch_size=4, eval_batch_size=4, val_samples=8)
    once, again = ([batch.tokens.tolist() for batch in data.val_dataloader()] for _ in range(2))
    assert once == again and len(once) == 2
    batches = [batch.tokens.tolist() for batch, _ in zip(data.train_dataloader(), range(3), strict=False)]
    assert len({str(batch) for batch in batches}) == 3


def test_a_resumed_run_takes_the_next_batch(monkeypatch):
    data = TranscriptData(TASK, "cot", [8], batch_size=4)
    straight = [batch.tokens.tolist() for batch, _ in zip(data.train_dataloader(), range(3), strict=False)]
    data.trainer = SimpleNamespace(global_rank=0, world_size=1)
    monkeypatch.setattr("lit_retrieval.data.transcript_data.batches_trained", lambda trainer: 2)
    assert next(iter(data.train_dataloader())).tokens.tolist() == straight[2]


@pytest.mark.parametrize("batch_size", [2, 4, 8])
def test_another_batch_size_goes_on_at_the_next_sample(monkeypatch, batch_size):
    monkeypatch.setattr("lit_retrieval.data.transcript_data.batches_trained", lambda trainer: trainer.batches)
    first, second, third = (TranscriptData(TASK, "cot", [8], batch_size=size) for size in (4, batch_size, 2))
    for data, batches, samples in (
        (first, 3, 12),
        (second, 5, 12 + 2 * batch_size),
        (third, 9, 12 + 2 * batch_size + 8),
    ):
        data.trainer = SimpleNamespace(global_rank=0, world_size=1, batches=batches, state=SimpleNamespace(fn="fit"))
        assert data.samples_trained == samples
        assert next(iter(data.train_dataloader().sampler)).tolist() == list(range(samples, samples + data.batch_size))
        following = {3: second, 5: third}.get(batches)
        if following is not None:
            following.load_state_dict(data.state_dict())


@pytest.mark.parametrize("options", [{"val_samples": 1}, {"eval_batch_size": 1}])
def test_fewer_samples_than_ranks_are_refused(options):
    data = TranscriptData(TASK, "cot", [8], **options)
    data.trainer = SimpleNamespace(global_rank=1, world_size=2)
    (key,) = options
    with pytest.raises(UserError, match=rf"data\.{key} must have 2 samples or more, one for each rank, got 1; set it"):
        data.val_dataloader()


def limited(limit, ranks=1, test_samples=10):
    data = TranscriptData(TASK, "cot", [8], test_samples=test_samples, eval_batch_size=4)
    data.trainer = SimpleNamespace(global_rank=0, world_size=ranks, limit_test_batches=limit)
    return data


@pytest.mark.parametrize(("limit", "left"), [(0.99, 2), (0.5, 6), (2, 2)])
def test_samples_that_a_limit_leaves_out_are_told(limit, left):
    with pytest.warns(UserWarning, match=rf"limit_test_batches={limit} leaves out the last {left} of 10 samples"):
        limited(limit).test_dataloader()


@pytest.mark.parametrize(("limit", "ranks"), [(1.0, 1), (3, 1), (1.0, 2), (0, 1)])
def test_a_limit_that_leaves_out_nothing_is_silent(limit, ranks, recwarn):
    limited(limit, ranks).test_dataloader()
    assert not recwarn


def test_a_share_of_the_batches_of_each_rank_is_refused():
    with pytest.raises(UserError, match=r"limit_test_batches must be a number of batches where ranks .* got 0.5"):
        limited(0.5, ranks=2, test_samples=9).test_dataloader()
    with pytest.warns(UserWarning, match="leaves out the last 6 of 10 samples"):
        limited(0.5, ranks=2).test_dataloader()


def test_the_token_limit_is_more_than_the_longest_reply_of_the_largest_size():
    data = TranscriptData(TASK, "cot", [8], eval_sizes=[8, 16])
    assert data.max_new_tokens > TASK.longest_reply(16, "cot")


def write(path, regime="cot", task=TASK, sizes=(8,), split="test", seed=5):
    stream = SampleStream(task, regime, list(sizes), seed, split)
    about = {"regime": regime, "task": describe(task), "seed": seed, "split": split}
    save_samples(path, task.vocabulary, [stream.take(np.arange(20))], about)
    return path


def test_a_split_with_a_file_has_all_samples_of_the_file(tmp_path):
    path = write(tmp_path / "samples.npz", sizes=(4, 16))
    same = write(tmp_path / "same.npz", sizes=(4, 16), split="fit")
    data = TranscriptData(TASK, "cot", [8], batch_size=4, eval_batch_size=8, val_file=path, train_file=same)
    assert data.draws_from_file and data.eval_values == [4, 8, 16]
    assert [len(batch.tokens) for batch in data.val_dataloader()] == [8, 8, 4]
    trained = [batch for batch, _ in zip(data.train_dataloader(), range(5), strict=False)]
    sizes = load_samples(same).take(np.arange(20)).sizes
    assert sorted(size for batch in trained for size in batch.sizes.tolist()) == sorted(sizes.tolist())
    assert data.max_new_tokens > TASK.longest_reply(16, "cot"), "the largest problem is in the file"


def test_a_file_of_another_task_or_regime_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"other\.npz has another vocabulary than data\.task"):
        TranscriptData(TASK, "cot", [8], val_file=write(tmp_path / "other.npz", task=IsTree(max_size=8)))
    with pytest.raises(UserError, match=r"data\.regime must be vanilla, as in .*, got cot"):
        TranscriptData(TASK, "cot", [8], val_file=write(tmp_path / "vanilla.npz", "vanilla"))


@pytest.mark.parametrize("key", ["val_file", "test_file"])
def test_samples_that_are_trained_on_are_not_scored(tmp_path, key):
    of_training, other = write(tmp_path / "fit.npz", split="fit"), write(tmp_path / "other.npz", split="fit", seed=6)
    same = tmp_path / "same.npz"
    stream = SampleStream(TASK, "cot", [8], 5, "fit")
    save_samples(same, TASK.vocabulary, [stream.take(np.arange(20))], {"regime": "cot"})
    for given in ({"seed": 5}, {"train_file": of_training}, {"train_file": same}):
        with pytest.raises(UserError, match=f"data.{key} must have samples that are not trained on"):
            TranscriptData(TASK, "cot", [8], **given, **{key: of_training})
    TranscriptData(TASK, "cot", [4, 16], seed=5, **{key: of_training})  # of other sizes
    TranscriptData(TASK, "cot", [8], train_file=of_training, **{key: other})
    TranscriptData(TASK, "cot", [8], seed=5, **{key: other})


def test_a_file_without_an_argument_that_is_null_now_is_of_the_same_stream(tmp_path):
    path = write(tmp_path / "fit.npz", split="fit")
    manifest = manifest_path(path)
    content = json.loads(manifest.read_text())
    content["task"]["init_args"]["newer"] = None
    manifest.write_text(json.dumps(content))
    with pytest.raises(UserError, match="must have samples that are not trained on"):
        TranscriptData(TASK, "cot", [8], seed=5, val_file=path)


@pytest.mark.parametrize("split", ["validate", "test"])
def test_a_file_with_the_samples_to_score_is_not_trained_on(tmp_path, split):
    path = write(tmp_path / "scored.npz", split=split)
    key = {"validate": "val_file", "test": "test_file"}[split]
    with pytest.raises(UserError, match=rf"data\.train_file must not have samples to score, got .* stream `{split}`"):
        TranscriptData(TASK, "cot", [8], seed=5, train_file=path)
    other = write(tmp_path / "other.npz", split="fit", seed=7)
    TranscriptData(TASK, "cot", [8], seed=5, train_file=path, **{key: other})
    TranscriptData(TASK, "cot", [8], seed=6, train_file=path)
    TranscriptData(TASK, "cot", [8], seed=5, train_file=path, eval_sizes=[4, 16])


@pytest.mark.parametrize("key", ["val_file", "test_file"])
def test_samples_of_a_training_file_without_a_stream_are_told_where_they_are_scored(tmp_path, key):
    stream, files = SampleStream(TASK, "cot", [8], 5, "fit"), {}
    for name, indices in {"all": np.arange(30), "half": np.arange(20, 40)}.items():
        files[name] = tmp_path / f"{name}.npz"
        save_samples(files[name], TASK.vocabulary, [stream.take(indices)], {"regime": "cot"})
    with pytest.warns(UserWarning, match=rf"10 of 20 samples of data\.{key} are also in data\.train_file"):
        TranscriptData(TASK, "cot", [8], train_file=files["all"], **{key: files["half"]})


def test_a_file_with_other_kinds_or_answers_is_refused_and_one_with_other_names_of_kinds_is_told(tmp_path):
    one, two = KHops(min_hops=1, max_hops=2), KHops(min_hops=2, max_hops=2)
    path = write(tmp_path / "hops.npz", task=one)
    with pytest.raises(UserError, match=r'other answers or kinds of problems than data\.task; .*"max_hops": 2'):
        TranscriptData(two, "cot", [8], val_file=path)
    fewer = write(tmp_path / "fewer.npz", task=KHops(min_hops=2, max_hops=3))
    with pytest.warns(UserWarning, match="whose kinds may have other names"):
        TranscriptData(KHops(max_hops=3), "cot", [8], val_file=fewer)
    element, whether = (SetDisjointness(64, question=question) for question in ("element", "whether"))
    with pytest.raises(UserError, match="other answers or kinds"):
        TranscriptData(whether, "cot", [8], val_file=write(tmp_path / "sets.npz", task=element))


def test_replies_and_distances_of_a_file_are_within_the_bounds_of_its_run(tmp_path):
    longer, task = AssociativeRecall(64, 64, num_queries=8), AssociativeRecall(64, 64)
    data = TranscriptData(task, "vanilla", [8], val_file=write(tmp_path / "longer.npz", "vanilla", longer, [16]))
    (batch,) = data.val_dataloader()
    assert data.max_new_tokens > int((batch.length - batch.prompt_length).max())
    assert data.longest_distance >= int(batch.distances.max()) > TranscriptData(task, "vanilla", [8]).longest_distance


def test_no_sizes_are_refused_not_taken_for_those_of_training():
    with pytest.raises(UserError, match="sizes"):
        TranscriptData(TASK, "cot", [8], eval_sizes=[])


def suite(**changes):
    stream = SampleStream(TASK, "cot", [8, 16], 3, "test")
    about = {"name": "trees", "version": "0.0.1", "sha256": {"cot": hash_samples(stream, 2000)}}
    return {"suite": Suite(**about), "sizes": [8, 16], "seed": 3, "test_samples": 2000, **changes}


@pytest.mark.parametrize("batch_size", [7, 256])
def test_a_suite_accepts_its_own_samples_in_any_batches(batch_size):
    assert len(list(TranscriptData(TASK, "cot", eval_batch_size=batch_size, **suite()).test_dataloader())) > 1


@pytest.mark.parametrize(
    "changes", [{"seed": 4}, {"sizes": [8]}, {"test_samples": 1999}, {"eval_sizes": {8: 2, 16: 1}}], ids=str
)
def test_a_suite_refuses_other_samples(changes):
    with pytest.raises(UserError, match=r"not those of the suite trees: .*; take lit_retrieval 0\.0\.1"):
        TranscriptData(TASK, "cot", **suite(**changes)).test_dataloader()


def test_a_suite_refuses_samples_in_which_one_bit_is_another(monkeypatch):
    take = SampleStream.take

    def spoil(stream, indices, first_samples=None):
        transcripts = take(stream, indices, first_samples)
        transcripts.tokens[0, 1] ^= 1
        return transcripts

    arguments = suite()
    monkeypatch.setattr(SampleStream, "take", spoil)
    with pytest.raises(UserError, match="not those of the suite"):
        TranscriptData(TASK, "cot", **arguments).test_dataloader()


def test_a_suite_takes_no_file_in_the_place_of_its_samples(tmp_path):
    with pytest.raises(UserError, match=r"leave out data\.test_file or data\.suite"):
        TranscriptData(TASK, "cot", test_file=tmp_path / "other.npz", **suite())


def test_a_suite_names_the_regimes_that_it_has():
    with pytest.raises(UserError, match=r"the suite trees has no regime vanilla; write one of cot in data\.regime"):
        TranscriptData(TASK, "vanilla", **suite()).test_dataloader()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"sizes": [3]}, "size must be 4 to 16, got 3"),
        ({"sizes": [8], "eval_sizes": [17]}, "size must be 4 to 16, got 17"),
        ({"sizes": []}, r"sizes must be one size or more, .* got \[\]"),
        ({"train_samples": 0}, r"train_samples must be 1 or more, got 0; set data\.train_samples"),
        ({"train_samples": 9, "train_file": "a.npz"}, "train_samples and train_file are two training sets; leave out"),
        ({"regime": "retrieval", "max_new_tokens": 11}, "max_new_tokens must be 12 or more"),
    ],
)
def test_what_cannot_be_is_refused_with_the_fix(arguments, said):
    with pytest.raises(UserError, match=said):
        TranscriptData(TASK, **{"sizes": [8], **arguments})


@pytest.mark.parametrize("every_token", [True, False])
def test_training_samples_and_targets_are_those_that_are_asked_for(every_token):
    targets = {"train_targets": "every_token"} if every_token else {}
    data = TranscriptData(TASK, "cot", [8, 16], batch_size=4, train_samples=8, **targets)
    batches = [batch for batch, _ in zip(data.train_dataloader(), range(6), strict=False)]
    rows = [tuple(filter(None, row)) for batch in batches for row in batch.tokens.tolist()]
    fresh = [tuple(filter(None, row)) for row in data.stream("fit").take(np.arange(8)).tokens.tolist()]
    assert sorted(rows) == sorted(3 * fresh)
    counts = [batch.length - 1 if every_token else (batch.author == Author.MODEL).sum(1) for batch in batches]
    assert [len(batch.targets) for batch in batches] == [int(count.sum()) for count in counts]
    (evaluated, *_) = data.val_dataloader()
    assert len(evaluated.targets) == (evaluated.author == Author.MODEL).sum(), "evaluation has the answers alone"


@pytest.mark.parametrize(("split", "workers"), [("train", 0), ("train", 1), ("val", 0), ("test", 0), ("predict", 0)])
def test_a_reply_that_is_longer_than_its_task_says_is_named_in_one_line(split, workers):
    data = TranscriptData(Short(), "cot", [4], batch_size=4, eval_batch_size=4, num_workers=workers)
    said = r"^longest_reply of Short must be 5 or more for size 4 in regime cot, .* got 2; correct it in the class$"
    with pytest.raises(UserError, match=said):
        next(iter(getattr(data, f"{split}_dataloader")()))


def test_samples_that_are_not_those_of_a_checkpoint_are_told(recwarn):
    first, same, other_seed = (TranscriptData(Parity(), "cot", [4], seed=seed) for seed in (0, 0, 1))
    other = TranscriptData(Parity(), "cot", [4])
    other.task.draw = lambda rng, size: [0] * size
    reordered = TranscriptData(Parity(), "cot", [4])
    reordered.task.vocabulary = Vocabulary(reversed(reordered.task.vocabulary.words[FIRST_WORD:]))
    state = first.state_dict()
    for data in (same, other_seed):
        data.load_state_dict(state)
    same.load_state_dict({"batches": 3, "samples": 12})  # of an older version
    assert not recwarn
    for data in (other, reordered):
        with pytest.warns(UserWarning, match="same seed gives other samples or words than in training, .* check-class"):
            data.load_state_dict(state)


def test_a_test_draws_no_training_samples():
    data, tested = (TranscriptData(Parity(), "cot", [4]) for _ in range(2))
    tested.task.draw = None
    tested.trainer = SimpleNamespace(state=SimpleNamespace(fn="test"))
    tested.load_state_dict(data.state_dict())
    assert "samples_sha256" not in vars(tested) and "words_sha256" in vars(tested)  # computed when first read


@pytest.mark.parametrize("wrap", [lambda task: task, lambda task: Mixture([task]), ReadAgain])
def test_a_reply_may_be_longer_than_an_estimate(wrap):
    class Growing(Parity):
        longest_reply = DrawnTask.longest_reply

        def problem(self, seed, index, size):
            return super().problem(seed, index, size * (3 if index > 900 else 1))

    data = TranscriptData(wrap(Growing()), "cot", [4], batch_size=1000)
    assert next(iter(data.train_dataloader())).length.max() > 3 * 4
