"""Early stopping."""

from lightning.pytorch.callbacks import EarlyStopping


class PlateauStopping(EarlyStopping):
    """Ends training when the closed-loop accuracy has not risen for some validations.

    The accuracy is also flat before a model learns to retrieve, so choose `patience` long enough.

    Args:
        patience: Number of validations without an improvement after which training ends.
        min_delta: Smallest improvement that counts.
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
