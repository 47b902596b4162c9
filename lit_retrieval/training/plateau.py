"""Early stopping."""

from lightning.pytorch.callbacks import EarlyStopping

from lit_retrieval.training.score_name import falls

_ROUNDING = 1e-6  # of scores in float32; Lightning stops beyond the threshold, not at it


class PlateauStopping(EarlyStopping):
    """Ends training when the closed-loop accuracy has not risen for some validations.

    The accuracy is also flat before a model learns to retrieve, so choose `patience` long enough.

    Args:
        patience: Number of validations without an improvement after which training ends.
        min_delta: Smallest improvement that counts.
        stopping_threshold: Accuracy at which training ends at once; none if absent.
        monitor: The logged score to watch; loss, undecided and timeouts must fall, other scores must rise.
    """

    def __init__(
        self,
        patience: int = 10,
        min_delta: float = 0.002,
        stopping_threshold: float | None = None,
        monitor: str = "val/closed_loop_accuracy",
    ) -> None:
        mode, beyond = ("min", _ROUNDING) if falls(monitor) else ("max", -_ROUNDING)
        threshold = None if stopping_threshold is None else stopping_threshold + beyond
        super().__init__(monitor, min_delta=min_delta, patience=patience, mode=mode, stopping_threshold=threshold)
