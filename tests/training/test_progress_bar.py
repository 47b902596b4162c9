from types import SimpleNamespace

import pytest

from lit_retrieval.training import ProgressBar

LOGGED = {"train/loss": 0.5, "train/samples_per_second": 30.0, "val/closed_loop_accuracy": 0.25, "val/loss": 9.0}
SHOWN = {"loss": 0.5, "samples/s": 30.0, "accuracy": 0.25}


def metrics(bar, logged=LOGGED, is_training=True, step=10, every=10):
    trainer = SimpleNamespace(
        training=is_training, global_step=step, log_every_n_steps=every, callback_metrics=logged, is_global_zero=True
    )
    return bar.get_metrics(trainer, None)


@pytest.mark.parametrize("options", [{}, {"step": 20}, {"is_training": False, "step": 7}], ids=str)
def test_three_numbers_are_shown_under_short_names(options):
    assert metrics(ProgressBar(), **options) == SHOWN


def test_what_is_not_logged_is_not_shown():
    assert metrics(ProgressBar(), {"train/loss": 0.5}) == {"loss": 0.5}


@pytest.mark.parametrize("every", [10, 0])
def test_a_number_is_read_in_no_step_that_does_not_log(every):
    class Unread:
        def __float__(self):
            raise AssertionError("the host would wait for the device")

    bar = ProgressBar()
    before = metrics(bar) if every else {}
    assert metrics(bar, dict.fromkeys(LOGGED, Unread()), step=13, every=every) == before
