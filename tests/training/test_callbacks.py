import pytest
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint

from lit_retrieval import training
from lit_retrieval.errors import UserError
from lit_retrieval.training import BestCheckpoint, Inspection, LastCheckpoint, default_callbacks
from lit_retrieval.training.score_name import QUANTITIES, falls

# Callbacks that a user names in trainer.callbacks.
CHOSEN = {"Curriculum", "KeptHeads", "PlateauStopping", "RightAnswers", "SolvedStopping"}


SHOWN = {True: "ProgressBar", False: "ProgressLines"}


def names(callbacks):
    return [type(callback).__name__ for callback in callbacks]


def default(**options):
    return default_callbacks(Inspection(), BestCheckpoint(), LastCheckpoint(), **options)


def test_every_callback_is_in_the_list_or_chosen_by_a_user():
    ours = {name for name in training.__all__ if isinstance(getattr(training, name), type)}
    ours = {name for name in ours if issubclass(getattr(training, name), Callback)} - CHOSEN
    assert set(names(default())) == ours - {"ProgressBar"}


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_the_best_checkpoint_of_a_score_that_should_fall_needs_the_mode_min(quantity):
    monitor = f"val/size_8/{quantity}"
    assert BestCheckpoint(monitor, "min").mode == "min"
    if quantity in ("loss", "undecided", "timeouts"):
        with pytest.raises(UserError, match=f"{monitor} is better if it is lower; set checkpoint.mode min"):
            BestCheckpoint(monitor)
    else:
        assert BestCheckpoint(monitor).mode == "max"


def test_every_loss_falls():
    assert falls("train/auxiliary_loss") and falls("val/my_loss") and not falls("val/lossless")


@pytest.mark.parametrize("shows_bar", [True, False])
@pytest.mark.parametrize("is_terminal", SHOWN)
def test_a_terminal_has_a_bar_if_wanted_and_a_file_has_lines(monkeypatch, is_terminal, shows_bar):
    monkeypatch.setattr("rich.console.Console.is_terminal", is_terminal)
    assert set(names(default(shows_bar=shows_bar))) & set(SHOWN.values()) == {SHOWN[is_terminal and shows_bar]}


def test_a_trainer_calls_them_in_the_order_of_the_list():
    listed = default()
    called = Trainer(
        accelerator="cpu", logger=False, callbacks=listed, enable_model_summary=False, enable_progress_bar=False
    ).callbacks
    assert names(called) == names(listed) and isinstance(called[-1], Checkpoint)


def test_what_a_command_has_no_use_for_is_left_out():
    assert set(names(default())) - set(names(default(writes_scores=False))) == {"AnswerFile", "ScoreFile"}
