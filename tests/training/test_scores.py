import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lit_retrieval.data import collate
from lit_retrieval.decoding import Reply
from lit_retrieval.decoding.session import UNDECIDED
from lit_retrieval.tasks import AssociativeRecall, Author
from lit_retrieval.training.scores import Scores, closed_loop, teacher_forced

TASK = AssociativeRecall(num_keys=8, num_values=4, num_queries=2)
BATCH = collate(TASK.sample(0, np.arange(4), np.array([4, 8, 4, 8]), "retrieval"))


def right_logits():
    return 20.0 * F.one_hot(BATCH.tokens[:, 1:], len(TASK.vocabulary)).float()


def spoil(author):
    """Logits that are right but for the words of one author, one wrong word in each row."""
    logits = right_logits()
    for row in range(4):
        place = int((BATCH.author[row, 1:] == author).nonzero()[0])
        logits[row, place] = 20.0 * F.one_hot(torch.tensor(0), logits.shape[-1])
    return logits


def means(measured):
    return {name: float((one.values * one.weights).sum() / one.weights.sum()) for name, one in measured.items()}


def test_right_logits_score_one():
    scores = means(teacher_forced(right_logits(), BATCH))
    assert scores["token_accuracy"] == scores["exact_match"] == 1 and scores["loss"] < 1e-6


@pytest.mark.parametrize("author", [Author.PROMPT, Author.RETRIEVER])
def test_words_of_others_do_not_count(author):
    scores = means(teacher_forced(spoil(author), BATCH))
    assert scores["exact_match"] == 1 and scores["loss"] < 1e-6


def test_one_wrong_word_of_the_model_costs_the_sample():
    scores = means(teacher_forced(spoil(Author.MODEL), BATCH))
    words = int((BATCH.author == Author.MODEL).sum())
    assert scores["exact_match"] == 0
    assert scores["token_accuracy"] == pytest.approx((words - 4) / words)
    assert scores["loss"] == pytest.approx(4 * 20 / words, rel=1e-4)


def test_undecided_answers_count_as_a_guess_in_the_papers_score():
    first, second, _, fourth = BATCH.answers.tolist()
    answers = [first, [second[0], UNDECIDED], [UNDECIDED, UNDECIDED], [fourth[0], 0]]
    replies = [Reply([], [], given, searches) for given, searches in zip(answers, (2, 1, 0, 5), strict=True)]
    scores = means(closed_loop(replies, BATCH, TASK.chance))
    assert scores["closed_loop_accuracy"] == pytest.approx(4 / 8)
    assert scores["undecided"] == pytest.approx(3 / 8)
    assert scores["paper_score"] == pytest.approx(4 / 8 + 0.25 * 3 / 8)
    assert scores["searches"] == 2


def test_sizes_are_averaged_apart_and_together():
    scores = Scores(["exact_match"], [4, 8])
    logits = right_logits()
    logits[1] = spoil(Author.MODEL)[1]  # a sample of size 8
    measured = {"exact_match": teacher_forced(logits, BATCH)["exact_match"]}
    scores.update(measured, BATCH.sizes)
    values = {name: float(mean.compute()) for name, mean in scores.means.items()}
    assert values == {"exact_match": 0.75, "size_4/exact_match": 1.0, "size_8/exact_match": 0.5}


def test_a_single_size_is_not_reported_twice():
    assert set(Scores(["loss"], [8, 8]).means) == {"loss"}
