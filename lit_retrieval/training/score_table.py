"""The table of scores at the end of a command."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich import get_console
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from lit_retrieval.runs import after_steps
from lit_retrieval.training.inspection import writers
from lit_retrieval.training.score_name import OF_TEXT, QUANTITIES, ScoreName

_ALL = ("closed_loop_accuracy", *OF_TEXT, *QUANTITIES[1:])
_HEADERS = {"closed_loop_accuracy": "closed loop"}


class ScoreTable(Callback):
    """Prints the last scores at the end of `fit`, `validate` and `test`: a row for each group, and one for all.

    A test's table is also written to TensorBoard, as text rather than as curves of one point.
    """

    def __init__(self) -> None:
        self._measured_step = 0

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Store the step of the checkpoint that is scored."""
        self._measured_step = checkpoint["global_step"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn if there will be no scores."""
        if trainer.limit_val_batches == 0 and trainer.is_global_zero:
            print("no validation: trainer.limit_val_batches is 0, so there will be no scores and no best.ckpt")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the last validation."""
        self._print(trainer, "val", f"validation {after_steps(self._measured_step)}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the validation, unless it is one of many within a fit."""
        if trainer.state.fn == "fit":
            self._measured_step = trainer.global_step
        else:
            self._print(trainer, "val", "validation")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the test, and write it for TensorBoard."""
        self._print(trainer, "test", "test")
        for writer in writers(trainer):
            header, *rows = score_rows(trainer.callback_metrics, "test")
            lines = [header, ["---"] * len(header), *rows]
            text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
            writer.add_text("test/scores", text, self._measured_step)

    def _print(self, trainer: Trainer, split: str, title: str) -> None:
        if trainer.is_global_zero and (table := score_table(trainer.callback_metrics, split, title)) is not None:
            get_console().print(table)


def score_table(metrics: Mapping[str, Any], split: str, title: str) -> Table | None:
    """The logged scores of `split` as a table of at most 80 columns; None without scores."""
    header, *rows = score_rows(metrics, split)
    if not rows:
        return None
    samples, *quantities = header
    broken = (one.replace("undecided", "un-\ndecided").replace(" ", "\n") for one in quantities)
    columns = [Column(samples), *(Column(one, justify="right") for one in broken)]
    table = Table(*columns, title=title, box=SIMPLE_HEAD, show_edge=False, padding=0)
    for row in rows:
        table.add_row(*row)
    timeouts = float(metrics[str(ScoreName("timeouts", split=split))])
    table.caption = f"{timeouts:.4f} searches a sample took too long" if timeouts else None
    return table


def score_rows(metrics: Mapping[str, Any], split: str) -> list[list[str]]:
    """The logged scores of `split` as text, below a header.

    `timeouts` has no column, nor has `all_right` if each sample has one answer, because it equals the accuracy.
    """
    named = ((ScoreName.parse(name), float(value)) for name, value in metrics.items())
    scores = {
        (name.group, name.quantity): value for name, value in named if name.split == split and name.quantity in _ALL
    }
    groups = sorted(dict.fromkeys(group for group, _ in scores), key=lambda group: group.order)
    has_one_answer = all(scores[group, "all_right"] == scores[group, "closed_loop_accuracy"] for group in groups)
    hidden = {"timeouts", *(["all_right"] if has_one_answer else [])}
    measured = {quantity for _, quantity in scores}
    shown = [quantity for quantity in _ALL if quantity in measured - hidden]
    header = ["samples", *(_HEADERS.get(quantity, quantity.replace("_", " ")) for quantity in shown)]
    return [
        header,
        *([group.label, *(_digits(quantity, scores[group, quantity]) for quantity in shown)] for group in groups),
    ]


def _digits(quantity: str, value: float) -> str:
    return f"{value:.2f}" if quantity == "searches" else f"{value:.4f}"
