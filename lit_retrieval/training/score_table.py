"""The scores as a table, when a run ends."""

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.table import Table

from lit_retrieval.training.sequence_module import QUANTITIES


class ScoreTable(Callback):
    """Prints the last scores at the end of `fit`, `validate` and `test`: a row for each size, and one for all."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the last validation."""
        self._print(trainer, "val", f"validation after {trainer.global_step:,} steps")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the validation, unless it is one of many within a fit."""
        if trainer.state.fn == "validate":
            self._print(trainer, "val", "validation")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the test."""
        self._print(trainer, "test", "test")

    def _print(self, trainer: Trainer, split: str, title: str) -> None:
        if trainer.is_global_zero and (table := score_table(trainer, split, title)) is not None:
            Console(width=max(110, Console().width)).print(table)


def score_table(trainer: Trainer, split: str, title: str) -> Table | None:
    """The logged scores of `split` as a table; None if there are none."""
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    groups = [name.split("/")[1] for name in logged if name.startswith(f"{split}/size_") and name.endswith("/loss")]
    if f"{split}/loss" not in logged:
        return None
    table = Table("size", *(quantity.replace("_", " ") for quantity in QUANTITIES), title=title)
    for group in [*groups, ""]:
        values = (logged[f"{split}/{group}/{quantity}".replace("//", "/")] for quantity in QUANTITIES)
        table.add_row(group.removeprefix("size_") or "all", *(f"{value:.4f}" for value in values))
    return table
