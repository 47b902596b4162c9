"""The progress bar, and progress lines where standard output is not a terminal."""

import time
from datetime import timedelta
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from rich import get_console
from rich.progress import BarColumn, ProgressColumn

_LOSS, _SPEED, _ACCURACY = "train/loss", "train/samples_per_second", "val/closed_loop_accuracy"
_WIDE = 100  # columns of a terminal that shows the speed
_BESIDES = 71  # columns that the bar leaves for the rest, and what the speed takes
_OF_SPEED = 17


class ProgressBar(RichProgressBar):
    """Shows the batches, the time left, and the loss, speed and accuracy under short names, in one line.

    The speed is left out in terminals of fewer than 100 columns.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown: dict[str, float | str] = {}
        self._is_wide = True

    @property
    def total_train_batches(self) -> int | float:
        """The batches of the whole run, those before a resume included."""
        trainer = self.trainer
        if trainer.max_steps < 0:
            return super().total_train_batches
        accumulated = trainer.accumulate_grad_batches
        done = (trainer.fit_loop.batch_idx + 1) // accumulated * accumulated
        return done + (trainer.max_steps - trainer.global_step) * accumulated

    def configure_columns(self, trainer: Trainer) -> list[ProgressColumn]:
        """The description, the bar, the batches and the time; the bar is as wide as the terminal allows."""
        description, bar, batches, duration, _ = super().configure_columns(trainer)
        width = get_console().width
        self._is_wide = width >= _WIDE
        assert isinstance(bar, BarColumn)
        bar.bar_width = min(40, max(8, width - _BESIDES - _OF_SPEED * self._is_wide))
        return [description, bar, batches, duration]

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The last logged loss, speed and closed-loop accuracy; read at logged steps only, because reading waits."""
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not trainer.training or (every and trainer.global_step % every == 0):
            values = trainer.callback_metrics
            self._shown = {
                short: float(values[name]) for name, short in {_LOSS: "loss", _ACCURACY: "accuracy"}.items()
                if name in values
            }  # fmt: skip
            if self._is_wide and _SPEED in values:
                self._shown["samples/s"] = f"{float(values[_SPEED]):.0f}"
        return self._shown

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the bar, with the batches before a resume."""
        super().on_train_epoch_start(trainer, pl_module)
        if self.progress is not None and self.train_progress_bar_id is not None:
            self.progress.update(self.train_progress_bar_id, completed=trainer.fit_loop.batch_idx + 1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar, because it wraps the lines that are printed while it is open."""
        self.teardown(trainer, pl_module, "fit")

    def _get_train_description(self, current_epoch: int) -> str:
        return "Training"  # an endless stream has no epochs


class ProgressLines(Callback):
    """Prints a line at each validation of `fit`: steps, loss, accuracy, speed and time left."""

    def __init__(self) -> None:
        self._began = (0.0, 0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._began = (time.monotonic(), trainer.global_step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking and trainer.is_global_zero:
            since, first = self._began
            step, last = trainer.global_step, trainer.estimated_stepping_batches  # trainer.max_steps, or that of epochs
            seconds = (time.monotonic() - since) / max(1, step - first) * (last - step)
            values = {name: float(value) for name, value in trainer.callback_metrics.items()}
            print(progress_line(step, last, values, seconds), flush=True)


def progress_line(step: int, last: float, values: dict[str, float], seconds: float) -> str:
    """One line, such as `step 350/700  loss 0.041  accuracy 0.893  531 samples/s  0:01:10 left`.

    Args:
        step, last: Optimizer steps so far and in total.
        values: The logged values by name; missing ones are left out.
        seconds: Time left.
    """
    forms = {_LOSS: "loss {:.3f}", _ACCURACY: "accuracy {:.3f}", _SPEED: "{:.0f} samples/s"}
    parts = [form.format(values[name]) for name, form in forms.items() if name in values]
    left = [f"{timedelta(seconds=round(seconds))} left"] if step < last else []
    return "  ".join([f"step {step}/{last}", *parts, *left])
