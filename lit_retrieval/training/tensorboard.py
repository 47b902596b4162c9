"""The scalars of a run in TensorBoard, each step once."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.compat.proto.event_pb2 import Event, SessionLog


class ScalarLogger(TensorBoardLogger):
    """A TensorBoardLogger without useless curves: `epoch`, which is always 0, and a test's curves of one point."""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log all scalars except those."""
        shown = {name: value for name, value in metrics.items() if name != "epoch" and not name.startswith("test/")}
        super().log_metrics(shown, step)


def drop_points(logger: TensorBoardLogger, step: int) -> None:
    """Make TensorBoard drop the points from `step` on, because a resumed run logs them again."""
    logger.experiment.file_writer.add_event(Event(step=step, session_log=SessionLog(status=SessionLog.START)))
