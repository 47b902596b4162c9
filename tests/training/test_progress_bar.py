import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from rich import get_console

from lit_retrieval.training import ProgressBar
from lit_retrieval.training.progress_bar import progress_line

LOGGED = {"train/loss": 0.5, "train/samples_per_second": 30.0, "val/closed_loop_accuracy": 0.25, "val/loss": 9.0}
SHOWN = {"loss": 0.5, "samples/s": "30", "accuracy": 0.25}


def make_trainer(logged=LOGGED, training=True, step=10, every=10, batches=None, accumulated=1):
    batch_idx = (step * accumulated if batches is None else batches) - 1
    return SimpleNamespace(
        training=training, global_step=step, log_every_n_steps=every, callback_metrics=logged, is_global_zero=True,
        max_steps=700, accumulate_grad_batches=accumulated, fit_loop=SimpleNamespace(batch_idx=batch_idx),
        state=SimpleNamespace(fn="fit"), sanity_checking=False, current_epoch=0,
    )  # fmt: skip


def metrics(bar, logged=LOGGED, **options):
    return bar.get_metrics(make_trainer(logged, **options), None)


@pytest.mark.parametrize("options", [{}, {"step": 20}, {"training": False, "step": 7}], ids=str)
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


@pytest.mark.parametrize(("step", "batches", "accumulated"), [(0, 0, 1), (246, 246, 1), (10, 21, 2), (700, 2100, 3)])
def test_the_bar_counts_the_batches_of_the_whole_run(step, batches, accumulated):
    bar = ProgressBar()
    bar.setup(make_trainer(step=step, batches=batches, accumulated=accumulated), None, "fit")
    assert bar.total_train_batches == 700 * accumulated


@pytest.mark.parametrize(("width", "has_speed"), [(80, False), (100, True), (160, True)])
def test_the_bar_is_one_line(monkeypatch, width, has_speed):
    monkeypatch.setenv("COLUMNS", str(width))
    trainer = make_trainer({**LOGGED, "train/loss": 10.25, "train/samples_per_second": 1234.5}, step=700)
    trainer.max_steps = 123_456
    bar = trainer.progress_bar_callback = ProgressBar()
    bar.setup(trainer, None, "fit")
    bar.on_train_start(trainer, None)
    bar.on_train_epoch_start(trainer, None)
    assert bar.train_progress_bar.completed == 700, "after a resume"
    now = time.monotonic()
    bar.progress.get_time = lambda: now + 3600  # the time is at its widest
    for batch in range(3):
        bar.on_train_batch_end(trainer, None, None, None, 699 + batch)
    console = get_console()
    with console.capture() as capture:
        console.print(bar.progress.get_renderable())
    bar.teardown(trainer, None, "fit")
    (line,) = capture.get().splitlines()
    assert "702/123456" in line and "loss: 10.250" in line and "accuracy: 0.250" in line and len(line) <= width
    assert ("samples/s: 1234" in line) == has_speed and "…" not in line


def test_a_log_file_has_a_line_for_each_validation():
    line = "step 350/700  loss 0.500  accuracy 0.250  30 samples/s  0:01:10 left"
    assert progress_line(350, 700, LOGGED, timedelta(seconds=70.2).total_seconds()) == line
    assert progress_line(1, 1, {"val/closed_loop_accuracy": 1.0}, 0.0) == "step 1/1  accuracy 1.000"
