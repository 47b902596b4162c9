"""The table of scores at the end of a command."""

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.table import Column, Table

from lit_retrieval.runs import after_steps
from lit_retrieval.training.score_name import QUANTITIES, Group, ScoreName


class ScoreTable(Callback):
    """Prints the last scores at the end of `fit`, `validate` and `test`: a row for each group, and one for all."""

    def __init__(self) -> None:
        self._measured_step = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say if there will be no scores."""
        if trainer.limit_val_batches == 0 and trainer.is_global_zero:
            print("no validation: trainer.limit_val_batches is 0, so there will be no scores and no best.ckpt")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the last validation."""
        self._print(trainer, "val", f"validation {after_steps(self._measured_step)}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the validation, unless it is one of many within a fit."""
        self._measured_step = trainer.global_step
        if trainer.state.fn == "validate":
            self._print(trainer, "val", "validation")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the test."""
        self._print(trainer, "test", "test")

    def _print(self, trainer: Trainer, split: str, title: str) -> None:
        if trainer.is_global_zero and (table := score_table(trainer, split, title)) is not None:
            Console(width=max(120, Console().width)).print(table)


def score_table(trainer: Trainer, split: str, title: str) -> Table | None:
    """The logged scores of `split` as a table; None if there are none."""
    named = ((ScoreName.parse(name), float(value)) for name, value in trainer.callback_metrics.items())
    scores = {(name.group, name.quantity): value for name, value in named if _is_score(name, split)}
    if not scores:
        return None
    shown = [quantity for quantity in QUANTITIES if quantity != "timeouts" or scores[Group(), "timeouts"] > 0]
    table = Table(Column("samples", no_wrap=True), *(quantity.replace("_", " ") for quantity in shown), title=title)
    for group in sorted(dict.fromkeys(group for group, _ in scores), key=lambda group: group.order):
        table.add_row(group.label, *(f"{scores[group, quantity]:.4f}" for quantity in shown))
    return table


def _is_score(name: ScoreName, split: str) -> bool:
    return name.split == split and name.quantity in QUANTITIES
