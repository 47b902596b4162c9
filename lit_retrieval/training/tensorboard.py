"""The scalars of a run in TensorBoard."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger


class ScalarLogger(TensorBoardLogger):
    """A TensorBoardLogger without curves that say nothing: `epoch`, always 0 here, and a test's, of one point each."""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log the other scalars."""
        shown = {name: value for name, value in metrics.items() if name != "epoch" and not name.startswith("test/")}
        super().log_metrics(shown, step)
