"""What earlier answers tell of later ones to a guesser who has read no context, or who knows its words."""

from math import sqrt

import numpy as np
import pytest
from benchmarks.data import suites
from catalogue import TASKS

from lit_retrieval.conversation import Author
from lit_retrieval.tasks import MQAR, StringCopying, StringTransduction
from lit_retrieval.tasks.checks import report
from lit_retrieval.tasks.checks.earlier_answers import guess

SORTED = "string_transduction_bucket_sort"  # its output is sorted, so most words repeat the last, by definition
PLACES = {
    **{name: (task, sizes[-1]) for name, (task, sizes) in TASKS.items()},
    **{f"suite {name}": (data.task, int(data.stream("test").sizes.values[0])) for name, data in suites()},
}


def sample(task, size, count):
    return task.sample(0, np.arange(count), np.full(count, size), task.regimes[0])


def blind_shares(transcripts, num_words):
    """Shares of right answers of those who know the earlier answers alone, those in the context of the model.

    One says the last answer again, one any word that has not been an answer; before the first they say any word. The
    third says the word that is the commonest answer of all samples.
    """
    rows = (transcripts.author != Author.ASKED).all(1)
    answers = transcripts.answers[rows]
    exists = answers != 0
    repeated, others = np.full(answers.shape, 1 / num_words), np.full(answers.shape, 1 / num_words)
    repeated[:, 1:] = answers[:, 1:] == answers[:, :-1]
    for at in range(1, answers.shape[1]):
        before = np.sort(answers[:, :at], 1)
        distinct = 1 + (np.diff(before, axis=1) != 0).sum(1)
        is_new = ~(answers[:, :at] == answers[:, at : at + 1]).any(1)
        others[:, at] = is_new / np.maximum(num_words - distinct, 1)
    commonest = np.bincount(answers[exists]).max() / exists.sum()
    return repeated[exists].mean(), others[exists].mean(), commonest


@pytest.mark.parametrize("name", PLACES)
def test_earlier_answers_alone_tell_nothing_of_later_ones(name):
    task, size = PLACES[name]
    transcripts = sample(task, size, 400)
    if (transcripts.author == Author.ASKED).any(1).all():
        return  # no answer is in the context
    *guessed, commonest = blind_shares(transcripts, len(task.answer_words))
    blind = max(task.chance, commonest)
    if name.endswith(SORTED):
        assert guessed[0] > 2 * blind
        return
    assert max(guessed) < blind + 5 * sqrt(blind * (1 - blind) / len(transcripts))


@pytest.mark.parametrize("pairs", [2, 4, 8])
def test_of_written_values_as_many_are_guessed_by_elimination_as_the_docstring_of_mqar_says(pairs):
    task = MQAR(64, pairs, power_a=1.0, random_non_queries=False, answers="written")
    found = guess(sample(task, 16 * pairs, 2000), task.answer_words)
    right = sum(1 / left for left in range(1, pairs + 1)) / pairs
    error = 5 * sqrt(right * (1 - right) / 2000)
    assert found.bag == pytest.approx(1 / pairs, abs=error) and found.elimination == pytest.approx(right, abs=error)
    assert found.repetition <= 1 / pairs


def test_where_all_values_are_asked_for_elimination_needs_no_context():
    repeated, others, _ = blind_shares(sample(MQAR(8, 4, answers="written"), 16, 1000), 4)
    assert others == pytest.approx(25 / 48) and repeated < 0.25


def test_the_last_word_of_a_copy_is_known_once_the_others_are_written():
    found = guess(sample(StringCopying(max_size=1, vocab_size=2), 1, 8), np.arange(3))
    assert found is None, "one answer"
    found = guess(sample(StringCopying(max_size=2, vocab_size=26), 2, 1000), StringCopying(2).answer_words)
    assert found.elimination == pytest.approx(0.75, abs=0.05), "half of the first, and the second"


def test_sorted_words_are_guessed_by_repeating():
    task = StringTransduction("bucket_sort", 40, 5)
    assert guess(sample(task, 40, 100), task.answer_words).repetition == pytest.approx(1 - 5 / 40, abs=0.03)


def test_answers_beside_the_words_are_not_in_the_context():
    task = MQAR(16, 2)
    assert guess(sample(task, 8, 20), task.answer_words) is None


def test_a_report_says_it():
    shown = {verdict.rule: verdict.shown for verdict in report(MQAR(16, 2, answers="written"), [8])}
    assert shown["earlier answers"].startswith("guessed 0.")
