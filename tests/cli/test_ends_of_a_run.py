"""How training may end, what has been scored and saved by then, and what the same command does next."""

import os
import re
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lit_retrieval.errors import INTERRUPTED, RunEndedError
from lit_retrieval.training import SequenceModule
from lit_retrieval.training.scores import Scores

SOLVED = "[{class_path: lit_retrieval.training.SolvedStopping, init_args: {validations: 1, accuracy: 0}}]"
PLATEAU = "[{class_path: lit_retrieval.training.PlateauStopping, init_args: {patience: 1, min_delta: 2.0}}]"
TIMER = "[{class_path: limit.Limit}]"
LIMIT = """
from lightning.pytorch.callbacks import Timer

class Limit(Timer):
    def __init__(self) -> None:
        super().__init__({"seconds": 3})
"""
FIVE = ["--trainer.max_steps", "5", "--trainer.val_check_interval", "2", "--trainer.log_every_n_steps", "1"]


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A training batch takes one second of the clock that time limits use."""
    now, step = [0.0], SequenceModule.training_step

    def take(module, batch, batch_idx):
        now[0] += 1
        return step(module, batch, batch_idx)

    monkeypatch.setattr(SequenceModule, "training_step", take)
    monkeypatch.setattr("lightning.pytorch.callbacks.timer.time", SimpleNamespace(monotonic=lambda: now[0]))


@pytest.fixture
def validated(monkeypatch):
    """The steps of the validations."""
    steps, score = [], SequenceModule.on_validation_epoch_end

    def take(module):
        steps.append(module.trainer.global_step)
        score(module)

    monkeypatch.setattr(SequenceModule, "on_validation_epoch_end", take)
    return steps


@pytest.fixture
def fit(command, capfd):
    """Train in a folder, and return what was printed."""

    def run(*arguments, folder="run"):
        try:
            command("fit", *FIVE, *arguments, "--run_dir", folder)
        except SystemExit as stopped:
            assert not stopped.code
        return "".join(capfd.readouterr())

    return run


def checkpoint(name, folder="run"):
    return torch.load(Path(folder) / "checkpoints" / f"{name}.ckpt", weights_only=True)


def saved(folder="run"):
    return sorted(path.stem for path in Path(folder).glob("checkpoints/*.ckpt"))


def assert_same(one, other):
    assert one["global_step"] == other["global_step"]
    for name, tensor in one["state_dict"].items():
        assert torch.equal(tensor, other["state_dict"][name]), name


def epochs(count, batches):
    """The options of a run that ends after so many epochs of so many batches."""
    of_trainer = {"max_epochs": count, "limit_train_batches": batches, "max_steps": -1}
    return [word for name, value in of_trainer.items() for word in (f"--trainer.{name}", str(value))]


# The options of a command, the steps that its first run validates, and where the run stops.
FINISHED = {
    "off the interval": ([], [2, 4, 5]),
    "on the interval": (["--trainer.val_check_interval", "5"], [5]),
    "before the interval": (["--trainer.val_check_interval", "350"], [5]),
    "micro-batches": (["--trainer.accumulate_grad_batches", "3", "--trainer.val_check_interval", "6"], [2, 4, 5]),
    "an epoch": (epochs(1, 3), [2, 3]),
    "epochs": ([*epochs(2, 3), "--trainer.val_check_interval", "4"], [4, 6]),
    "epochs of one interval": ([*epochs(2, 2), "--trainer.val_check_interval", "2"], [2, 4]),
    "an epoch whose last step is short": ([*epochs(1, 3), "--trainer.accumulate_grad_batches", "2"], [1, 2]),
    "steps before epochs": ([*epochs(3, 3), "--trainer.max_steps", "5"], [2, 4, 5]),
    "solved": (["--trainer.callbacks", SOLVED], [2]),
    "plateau": (["--trainer.callbacks", PLATEAU], [2, 4]),
    "solved at the time limit": (["--trainer.callbacks", SOLVED, "--trainer.max_time", "00:00:00:02"], [2]),
}
# The options of a time limit, the steps that the first run validates, and those that it takes.
OUT_OF_TIME = {
    "off the interval": (["--trainer.max_time", "00:00:00:03"], [2, 3], 3),
    "on the interval": (["--trainer.max_time", "00:00:00:04"], [2, 4], 4),
    "before the interval": (["--trainer.val_check_interval", "350", "--trainer.max_time", "00:00:00:03"], [3], 3),
    "timer": (["--trainer.callbacks", TIMER], [2, 3], 3),
    "inside a step": (["--trainer.accumulate_grad_batches", "2", "--trainer.max_time", "00:00:00:05"], [1, 2, 3], 3),
    "no validation": (["--trainer.limit_val_batches", "0", "--trainer.max_time", "00:00:00:03"], [], 3),
}


@pytest.mark.parametrize("case", FINISHED)
def test_a_run_ends_with_a_validation_and_is_finished(fit, validated, case):
    options, steps = FINISHED[case]
    shown = fit(*options)
    assert validated == steps and re.search(rf"validation after {steps[-1]} steps?\b", shown)
    assert {"best", f"step_{steps[-1]}"} <= set(saved())
    if not any(name in case for name in ("solved", "plateau")):
        assert [f"step {step}/{steps[-1]} " in shown for step in steps] == [True] * len(steps)
    assert f"run is finished after {steps[-1]} step" in fit(*options)
    assert validated == steps


@pytest.mark.parametrize(
    "case",
    [pytest.param(one, marks=() if one in ("off the interval", "timer") else pytest.mark.slow) for one in OUT_OF_TIME],
)
def test_a_run_whose_time_is_over_is_scored_and_goes_on_as_if_it_had_not_stopped(fit, validated, monkeypatch, case):
    Path("limit.py").write_text(LIMIT)
    monkeypatch.syspath_prepend(".")
    options, steps, last = OUT_OF_TIME[case]
    shown = fit(*options)
    assert validated == steps and f"stopped by the time limit after {last} step" in shown
    assert not checkpoint(f"step_{last}")["is_finished"] and ("best" in saved()) == bool(steps)
    assert f"resuming run after {last} steps" in fit(*options)
    assert checkpoint("step_5")["is_finished"]
    without = [one for one in options if one not in ("--trainer.max_time", "--trainer.callbacks", TIMER)]
    fit(*(one for one in without if not one.startswith("00:")), folder="whole")
    for name in ("step_5", *(["best"] if steps else [])):
        assert_same(checkpoint(name), checkpoint(name, "whole"))


@pytest.mark.parametrize("name", ["validate", "test", "predict"])
def test_ctrl_c_in_other_commands_has_the_status_of_ctrl_c(fit, command, monkeypatch, name):
    def interrupt(*args):
        raise KeyboardInterrupt

    fit()
    monkeypatch.setattr(SequenceModule, {"validate": "validation_step"}.get(name, f"{name}_step"), interrupt)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as ended:
        command(name, *FIVE, "--run_dir", "run", "--ckpt_path", "last")
    signal.signal(signal.SIGINT, handler)  # Lightning ignores Ctrl-C from here on
    assert ended.value.code == INTERRUPTED


def give_scores(monkeypatch, scores):
    """Let the validations of a run have these accuracies, and all the same loss."""
    compute, accuracies = Scores.compute, iter(scores)

    def change(self):
        given = {"closed_loop_accuracy": torch.tensor(next(accuracies)), "loss": torch.tensor(1.0)}
        return {name: given.get(str(name), value) for name, value in compute(self).items()}

    monkeypatch.setattr(Scores, "compute", change)


EACH = ["--trainer.val_check_interval", "1"]


@pytest.mark.parametrize(
    ("options", "best"),
    [([], 2), (["--checkpoint.monitor", "val/loss", "--checkpoint.mode", "min"], 1), (["--checkpoint.mode", "min"], 1)],
    ids=["highest accuracy", "lowest loss, the first", "lowest accuracy"],
)
def test_the_best_checkpoint_is_that_of_the_best_validation(fit, monkeypatch, options, best):
    give_scores(monkeypatch, [0.2, 0.9, 0.5, 0.9, 0.3])
    shown = fit(*EACH, *options, "--last_checkpoint.keep", "5")
    assert checkpoint("best")["global_step"] == best
    assert_same(checkpoint("best"), checkpoint(f"step_{best}"))
    assert f"after {best} step" in shown and ("0.9000" in shown) == (best == 2)


@pytest.mark.parametrize(
    ("scores", "limit", "last"),
    [([0.1, 0.2, 0.3, 0.4, 0.5], {}, 5), ([0.5, 0.4, 0.3, 0.2, 0.1], {}, 2), ([0.1, 0.2, 0.3, 0.4, 0.5], 0.25, 3)],
    ids=["it rises", "it falls", "threshold"],
)
def test_a_plateau_is_where_the_accuracy_no_longer_rises(fit, monkeypatch, scores, limit, last):
    give_scores(monkeypatch, scores)
    threshold = f", stopping_threshold: {limit}" if limit else ""
    plateau = f"[{{class_path: lit_retrieval.training.PlateauStopping, init_args: {{patience: 1{threshold}}}}}]"
    fit(*EACH, "--trainer.callbacks", plateau)
    assert max(int(name.removeprefix("step_")) for name in saved() if name.startswith("step_")) == last


def test_a_run_without_validations_says_so(fit, validated):
    shown = fit("--trainer.limit_val_batches", "0")
    assert "no validation: trainer.limit_val_batches is 0" in shown and "--ckpt_path last" in shown
    assert validated == [] and saved() == ["step_5"]


@pytest.mark.parametrize(("batch", "stops", "steps"), [(3, 3, [2]), (5, 5, [2, 4, 5])], ids=["inside", "last step"])
def test_a_signal_waits_for_no_validation_but_the_last(fit, command, validated, monkeypatch, batch, stops, steps):
    step = SequenceModule.training_step

    def take(module, data, batch_idx):
        if batch_idx == batch - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(module, data, batch_idx)

    with monkeypatch.context() as killed:
        killed.setattr(SequenceModule, "training_step", take)
        if stops == 5:
            fit()
        else:
            with pytest.raises(SystemExit) as stopped:
                command("fit", *FIVE, "--run_dir", "run")
            assert stopped.value.code == 75
    assert validated == steps and f"step_{stops}" in saved()
    fit()
    fit(folder="whole")
    for name in ("step_5", "best"):
        assert_same(checkpoint(name), checkpoint(name, "whole"))


@pytest.mark.parametrize(
    ("interval", "others", "kept"), [("2", [], 1), ("5", [], 4), ("350", [], 4), ("350", epochs(1, 3), 2)]
)
def test_what_fails_in_the_first_validation_finds_a_checkpoint_and_is_repeated(
    fit, validated, monkeypatch, interval, others, kept
):
    options = ["--trainer.val_check_interval", interval, *others]
    fit(*options, folder="whole")
    steps = list(validated)

    def fail(*arguments):
        raise RunEndedError("a bug", 1)

    with monkeypatch.context() as broken:
        broken.setattr(SequenceModule, "validation_step", fail)
        with pytest.raises(AssertionError):
            fit(*options)
    assert saved() == [f"step_{kept}"]
    validated.clear()
    assert f"resuming run after {kept} step" in fit(*options)
    assert validated == steps
    for name in (f"step_{steps[-1]}", "best"):
        assert_same(checkpoint(name), checkpoint(name, "whole"))
