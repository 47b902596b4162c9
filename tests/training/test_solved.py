"""The end of training once the task is solved, or on a plateau."""

from types import SimpleNamespace

import pytest
import torch

from lit_retrieval.errors import UserError
from lit_retrieval.training import PlateauStopping, SolvedStopping


def trainer(fn="fit", sanity_checking=False):
    return SimpleNamespace(
        state=SimpleNamespace(fn=fn), sanity_checking=sanity_checking, callback_metrics={}, should_stop=False
    )


def validate(callback, run, accuracy):
    run.callback_metrics["val/closed_loop_accuracy"] = torch.tensor(accuracy)
    callback.on_validation_end(run, None)
    return run.should_stop


@pytest.mark.parametrize(
    ("accuracies", "stops_after"),
    [([1.0, 1.0], 2), ([1.0, 0.998, 1.0, 1.0], 4), ([0.5, 1.0, 0.9, 1.0], None)],
)
def test_training_ends_after_two_solved_validations_in_a_row(accuracies, stops_after):
    callback, run = SolvedStopping(), trainer()
    stops = [validate(callback, run, accuracy) for accuracy in accuracies]
    assert (stops.index(True) + 1 if True in stops else None) == stops_after


def test_the_count_survives_a_resume():
    before, after = SolvedStopping(validations=2), SolvedStopping(validations=2)
    assert not validate(before, trainer(), 1.0)
    after.load_state_dict(before.state_dict())
    assert validate(after, trainer(), 1.0)


@pytest.mark.parametrize("run", [trainer(fn="validate"), trainer(sanity_checking=True)])
def test_only_validations_of_training_count(run):
    callback = SolvedStopping(validations=1)
    assert not validate(callback, run, 1.0)


def test_an_accuracy_that_equals_the_limit_counts():
    assert validate(SolvedStopping(validations=1, accuracy=0.9), trainer(), 450 / 500)


def test_no_validations_is_a_mistake():
    with pytest.raises(UserError, match="validations must be 1 or more, got 0"):
        SolvedStopping(validations=0)


@pytest.mark.parametrize(
    ("monitor", "scores", "stops"),
    [
        ("val/closed_loop_accuracy", [0.1, 0.2, 0.3, 0.4], False),
        ("val/closed_loop_accuracy", [0.4, 0.3, 0.2, 0.1], True),
        ("val/loss", [0.4, 0.3, 0.2, 0.1], False),
        ("val/loss", [0.1, 0.2, 0.3, 0.4], True),
    ],
)
def test_a_plateau_is_where_an_accuracy_does_not_rise_or_a_loss_does_not_fall(monitor, scores, stops):
    callback = PlateauStopping(patience=2, monitor=monitor)
    assert any([callback._evaluate_stopping_criteria(torch.tensor(score))[0] for score in scores]) == stops


@pytest.mark.parametrize(
    ("monitor", "threshold", "score", "stops"),
    [
        ("val/closed_loop_accuracy", 1.0, 1.0, True),
        ("val/closed_loop_accuracy", 0.9, 450 / 500, True),
        ("val/closed_loop_accuracy", 0.9, 449 / 500, False),
        ("val/loss", 0.1, 0.1, True),
        ("val/undecided", 0.1, 0.11, False),
    ],
)
def test_a_score_that_equals_the_threshold_ends_training(monitor, threshold, score, stops):
    callback = PlateauStopping(stopping_threshold=threshold, monitor=monitor)
    assert callback._evaluate_stopping_criteria(torch.tensor(score))[0] == stops
