import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lit_retrieval.data import collate
from lit_retrieval.decoding import UNDECIDED, Replies
from lit_retrieval.tasks import AssociativeRecall, Author, Counting, Index, Mixture, StringCopying
from lit_retrieval.training.score_name import Group
from lit_retrieval.training.scores import Measured, Scores, closed_loop, join, teacher_forced
from lit_retrieval.vocabulary import PAD

TASK = AssociativeRecall(num_keys=8, num_values=4, num_queries=2)
BATCH = collate(TASK.sample(0, np.arange(4), np.array([4, 8, 4, 8]), "retrieval"))


def right_logits():
    return 20.0 * F.one_hot(BATCH.tokens[:, 1:], len(TASK.vocabulary)).float()


def forced(logits):
    return teacher_forced(logits.flatten(0, 1)[BATCH.positions], BATCH)


def spoil(author):
    """Logits that are right but for the words of one author, one wrong word in each row."""
    logits = right_logits()
    for row in range(4):
        place = int((BATCH.author[row, 1:] == author).nonzero()[0])
        logits[row, place] = 20.0 * F.one_hot(torch.tensor(0), logits.shape[-1])
    return logits


def means(measured, batch=BATCH):
    scores = Scores(list(measured), [8])
    scores.update(measured, batch)
    return {str(name): float(mean) for name, mean in scores.compute().items()}


def test_right_logits_score_one():
    scores = means(forced(right_logits()))
    assert scores["token_accuracy"] == scores["exact_match"] == 1 and scores["loss"] < 1e-6


@pytest.mark.parametrize("author", [Author.PROMPT, Author.RETRIEVER])
def test_words_of_others_do_not_count(author):
    scores = means(forced(spoil(author)))
    assert scores["exact_match"] == 1 and scores["loss"] < 1e-6


def test_one_wrong_word_of_the_model_costs_the_sample():
    scores = means(forced(spoil(Author.MODEL)))
    words = int((BATCH.author == Author.MODEL).sum())
    assert scores["exact_match"] == 0
    assert scores["token_accuracy"] == pytest.approx((words - 4) / words)
    assert scores["loss"] == pytest.approx(4 * 20 / words, rel=1e-4)


def replies_of(answers, searches=None):
    """Replies with these answers, and without tokens."""
    longest, rows = max(map(len, answers)), len(answers)
    padded = np.array([given + [PAD] * (longest - len(given)) for given in answers])
    zeros, nothing = np.zeros(rows, np.int64), np.zeros((rows, 0), np.int32)
    return Replies(nothing, nothing, zeros, padded, np.array(searches or zeros), zeros)


def test_undecided_answers_count_as_a_guess_in_the_papers_score():
    first, second, _, fourth = BATCH.answers.tolist()
    answers = [first, [second[0], UNDECIDED], [UNDECIDED, UNDECIDED], [fourth[0], 0]]
    scores = means(closed_loop(replies_of(answers, [2, 1, 0, 5]), BATCH, TASK.chances))
    assert scores["closed_loop_accuracy"] == pytest.approx(4 / 8)
    assert scores["undecided"] == pytest.approx(3 / 8)
    assert scores["paper_score"] == pytest.approx(4 / 8 + 0.25 * 3 / 8)
    assert scores["searches"] == 2 and scores["all_right"] == pytest.approx(1 / 4)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 9])
def test_a_batch_is_scored_in_parts_as_in_one(rows):
    logits = torch.randn(*BATCH.tokens[:, 1:].shape, len(TASK.vocabulary), generator=torch.Generator().manual_seed(0))
    parts = list(BATCH.split(rows * BATCH.tokens.shape[1]))
    assert [len(part.tokens) for part in parts] == {1: [1] * 4, 2: [2, 2], 3: [3, 1]}.get(rows, [4])
    assert torch.equal(torch.cat([part.targets for part in parts]), BATCH.targets)
    scored = []
    for part, own in zip(parts, logits.split(rows), strict=True):
        scored.append(teacher_forced(own.flatten(0, 1)[part.positions], part))
    whole = forced(logits)
    for name, (values, weights) in join(scored).items():
        torch.testing.assert_close(values, whole[name].values)
        assert torch.equal(weights, whole[name].weights)


def compute(scores, measured, batch=BATCH):
    scores.update(measured, batch)
    return {str(name): pytest.approx(float(mean)) for name, mean in scores.compute().items()}


def test_sizes_are_averaged_apart_and_together():
    logits = right_logits()
    logits[1] = spoil(Author.MODEL)[1]  # a sample of size 8
    measured = {"exact_match": forced(logits)["exact_match"]}
    values = compute(Scores(["exact_match"], [4, 8, 16]), measured)
    assert values == {"exact_match": 0.75, "size_4/exact_match": 1.0, "size_8/exact_match": 0.5}, "nothing of size 16"


def test_a_single_size_is_not_reported_twice():
    assert Scores(["loss"], [8, 8]).groups == [Group()]


def test_each_answer_counts_in_the_group_of_its_own_distance():
    distances = torch.tensor([[1, 9], [3, 8], [2, 15], [0, 4]])
    batch = BATCH._replace(distances=distances)
    answers = [[first, 0] for first, _ in BATCH.answers.tolist()]  # the first answer of each sample is right
    measured = closed_loop(replies_of(answers), batch, TASK.chances)
    values = compute(
        Scores(["closed_loop_accuracy"], [4], 15), {"closed_loop_accuracy": measured["closed_loop_accuracy"]}, batch
    )
    assert values == {
        "closed_loop_accuracy": 0.5,
        "distance_1/closed_loop_accuracy": 1.0,  # 1
        "distance_2/closed_loop_accuracy": 1.0,  # 3, 2
        "distance_4/closed_loop_accuracy": 0.0,  # 4
        "distance_8/closed_loop_accuracy": 0.0,  # 9, 8, 15
    }


def test_the_score_of_a_sample_counts_with_the_share_of_its_answers_at_a_distance():
    batch = BATCH._replace(distances=torch.tensor([[1, 2], [1, 1], [2, 2], [2, 2]]))
    measured = {"searches": Measured(torch.tensor([[1.0], [2.0], [3.0], [4.0]]), torch.ones(4, 1))}
    values = compute(Scores(["searches"], [4], 2), measured, batch)
    assert values["distance_1/searches"] == pytest.approx((0.5 * 1 + 2) / 1.5)
    assert values["distance_2/searches"] == pytest.approx((0.5 * 1 + 3 + 4) / 2.5)


def test_kinds_are_averaged_apart():
    batch = BATCH._replace(kinds=torch.tensor([0, 1, 0, 1]))
    measured = {"searches": Measured(torch.tensor([[1.0], [2.0], [3.0], [4.0]]), torch.ones(4, 1))}
    values = compute(Scores(["searches"], [4], kinds=["Index", "IsTree"]), measured, batch)
    assert values == {"searches": 2.5, "task_Index/searches": 2.0, "task_IsTree/searches": 3.0}


def test_samples_with_fewer_answers_count_as_much_as_others():
    task = StringCopying(max_size=4)
    batch = collate(task.sample(0, np.arange(2), np.array([1, 4]), "vanilla"))
    answers = [
        [0],
        batch.answers[1].tolist(),
    ]  # one wrong word, four right ones
    measured = closed_loop(replies_of(answers), batch, task.chances)
    values = means(measured, batch)
    assert values["closed_loop_accuracy"] == values["all_right"] == 0.5


def test_an_undecided_answer_counts_with_the_chance_of_its_own_task():
    mixture = Mixture([Counting(max_size=4), Index(max_size=4, num_words=16)])
    batch = collate(mixture.sample(0, np.arange(64), np.full(64, 4), "vanilla"))
    replies = replies_of([[UNDECIDED]] * 64)
    scores = Scores(["paper_score"], [4], kinds=mixture.kinds)
    scores.update({"paper_score": closed_loop(replies, batch, mixture.chances)["paper_score"]}, batch)
    values = {str(name): float(mean) for name, mean in scores.compute().items()}
    assert values["task_Counting/paper_score"] == 0.5 and values["task_Index/paper_score"] == 1 / 16
    share = float((batch.kinds == 0).float().mean())
    assert values["paper_score"] == pytest.approx(share / 2 + (1 - share) / 16)


def test_scores_of_a_half_precision_trainer_are_added_up_in_float32():
    """Lightning scores within autocast, where a product of matrices has eight bits: 255.625 of 256 samples were 256."""
    batch = collate(TASK.sample(0, np.arange(256), np.full(256, 8), "vanilla"))
    answers = batch.answers.numpy().copy()
    answers[:3, 0] = UNDECIDED
    measured = closed_loop(replies_of(answers.tolist()), batch, [0.5])
    with torch.autocast("cpu", torch.bfloat16):
        scores = means(measured, batch)
    given = answers != PAD
    right = (answers == batch.answers.numpy()) & given
    assert scores["closed_loop_accuracy"] == pytest.approx((right.sum(1) / given.sum(1)).mean(), abs=1e-6)
    assert 0.99 < scores["closed_loop_accuracy"] < 1
