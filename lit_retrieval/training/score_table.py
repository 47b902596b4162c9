"""The scores as a table, when a run ends."""

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.table import Column, Table

from lit_retrieval.training.sequence_module import QUANTITIES


class ScoreTable(Callback):
    """Prints the last scores at the end of `fit`, `validate` and `test`: a row for each group, and one for all."""

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
            Console(width=max(120, Console().width)).print(table)


def score_table(trainer: Trainer, split: str, title: str) -> Table | None:
    """The logged scores of `split` as a table; None if there are none."""
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    groups = [name.removesuffix("loss") for name in logged if name.startswith(f"{split}/") and name.endswith("/loss")]
    if f"{split}/loss" not in logged:
        return None
    shown = [quantity for quantity in QUANTITIES if quantity != "timeouts" or logged[f"{split}/timeouts"] > 0]
    names = (quantity.replace("_", " ") for quantity in shown)
    table = Table(Column("samples", no_wrap=True), *names, title=title)
    for group in sorted(dict.fromkeys(groups), key=_order):
        values = (logged[group + quantity] for quantity in shown)
        table.add_row(_label(group.split("/")[1]), *(f"{value:.4f}" for value in values))
    return table


def _order(group: str) -> tuple[int, int]:
    """Tasks in the order in which they were logged, sizes and distances, both rising, and all together at the end."""
    kind, _, number = group.split("/")[1].partition("_")
    return ("task", "size", "distance", "").index(kind), int(number) if number.isdecimal() else 0


def _label(group: str) -> str:
    kind, _, name = group.partition("_")
    if kind == "distance":
        return f"{name} to {2 * int(name) - 1} words back"
    return name if kind == "task" else f"{kind} {name}" if name else "all"
