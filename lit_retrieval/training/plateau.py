"""Early stopping."""

from lightning.pytorch.callbacks import EarlyStopping


class PlateauStopping(EarlyStopping):
    """Ends training when the closed-loop accuracy has not risen for some validations.

    A model that has not yet learned to retrieve is on a plateau as well: choose `patience` accordingly.

    Args:
        patience: Validations without a rise of `min_delta` after which training ends.
        min_delta: The smallest rise that counts.
        stopping_threshold: Accuracy at which training ends at once; none if absent.
        monitor: The logged score to watch; a loss must fall, other scores must rise.
    """

    def __init__(
        self,
        patience: int = 10,
        min_delta: float = 0.002,
        stopping_threshold: float | None = None,
        monitor: str = "val/closed_loop_accuracy",
    ) -> None:
        super().__init__(
            monitor, min_delta=min_delta, patience=patience, mode="min" if monitor.endswith("loss") else "max",
            stopping_threshold=stopping_threshold,
        )  # fmt: skip
