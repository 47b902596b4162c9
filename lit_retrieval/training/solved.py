"""Stopping once the task is solved."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_at_least
from lit_retrieval.training.score_name import falls

_ROUNDING = 1e-6  # of an accuracy in float32


class SolvedStopping(Callback):
    """Ends training when the task is solved in several validations in a row.

    Args:
        validations: Number of solved validations in a row.
        accuracy: Lowest accuracy that counts as solved.
        monitor: The logged score to watch.
    """

    def __init__(self, validations: int = 2, accuracy: float = 1.0, monitor: str = "val/closed_loop_accuracy") -> None:
        check_at_least("validations", validations, 1, "trainer.callbacks.init_args.validations")
        if falls(monitor):
            raise UserError(f"SolvedStopping needs an accuracy, got {monitor}; set another monitor")
        self.validations = validations
        self.accuracy = accuracy
        self.monitor = monitor
        self._solved = 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the solved validations in a row; the score is the same on all ranks."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        is_solved = float(trainer.callback_metrics[self.monitor]) >= self.accuracy - _ROUNDING
        self._solved = self._solved + 1 if is_solved else 0
        if self._solved >= self.validations:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """The number of solved validations in a row."""
        return {"solved": self._solved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of solved validations."""
        self._solved = state_dict["solved"]
