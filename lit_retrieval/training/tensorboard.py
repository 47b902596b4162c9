"""The scalars of a run in TensorBoard, each step once."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.compat.proto.event_pb2 import Event, SessionLog


class ScalarLogger(TensorBoardLogger):
    """A TensorBoardLogger without curves that say nothing: `epoch`, always 0 here, and a test's, of one point each."""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log the other scalars."""
        shown = {name: value for name, value in metrics.items() if name != "epoch" and not name.startswith("test/")}
        super().log_metrics(shown, step)


def drop_points(logger: TensorBoardLogger, step: int) -> None:
    """Make TensorBoard drop the points from `step` on that the logger's files already have; the run logs them again."""
    logger.experiment.file_writer.add_event(Event(step=step, session_log=SessionLog(status=SessionLog.START)))
