"""An end to training that goes nowhere."""

from lightning.pytorch.callbacks import EarlyStopping


class PlateauStopping(EarlyStopping):
    """Ends training when the closed-loop accuracy has not risen for some validations, or has nothing left to rise.

    A model that is still guessing stands on a plateau as well: give it the patience to find out what to look for.

    Args:
        patience: Validations without a rise of `min_delta` that end training.
        min_delta: The smallest rise that counts.
        stopping_threshold: An accuracy that ends training at once; none if absent.
        monitor: The score.
    """

    def __init__(
        self,
        patience: int = 10,
        min_delta: float = 0.002,
        stopping_threshold: float | None = None,
        monitor: str = "val/closed_loop_accuracy",
    ) -> None:
        super().__init__(
            monitor, min_delta=min_delta, patience=patience, mode="max", stopping_threshold=stopping_threshold
        )
