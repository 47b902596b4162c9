"""An end to training once the task is solved."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_retrieval.ranges import check_at_least


class SolvedStopping(Callback):
    """Ends training when the closed-loop accuracy has been 1 in several validations in a row.

    Args:
        validations: How many.
        accuracy: The least accuracy that counts as solved.
        monitor: The score.
    """

    def __init__(self, validations: int = 2, accuracy: float = 1.0, monitor: str = "val/closed_loop_accuracy") -> None:
        check_at_least("validations", validations, 1, "trainer.callbacks.init_args.validations")
        self.validations = validations
        self.accuracy = accuracy
        self.monitor = monitor
        self._solved = 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the validations in a row; the score is the same on all ranks."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        self._solved = self._solved + 1 if float(trainer.callback_metrics[self.monitor]) >= self.accuracy else 0
        if self._solved >= self.validations:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """The count, for a run that resumes."""
        return {"solved": self._solved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the count up."""
        self._solved = state_dict["solved"]
