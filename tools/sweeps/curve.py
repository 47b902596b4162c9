"""Learning curves, read from TensorBoard files."""

import math
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator, ScalarEvent

_ALL = {SCALARS: 0}  # 0 keeps every scalar


class Curve(NamedTuple):
    """A learning curve.

    Args:
        steps: Optimizer steps before each validation, `(validations,)`.
        accuracy: Closed-loop accuracy, `(validations,)`.
        exact_match: Exact match with teacher forcing, `(validations,)`.
        loss: Loss in nats per token, `(validations,)`.
        samples_per_second: Median over training.
    """

    steps: list[int]
    accuracy: list[float]
    exact_match: list[float]
    loss: list[float]
    samples_per_second: float


def read_curve(run: Path) -> Curve:
    """Read the scalars in a run's folder; a run without validations, or with another logger, has an empty curve."""
    events = EventAccumulator(str(run), size_guidance=_ALL).Reload()
    known = events.Tags()["scalars"]

    def scalars(tag: str) -> list[ScalarEvent]:
        return events.Scalars(tag) if tag in known else []

    tags = ("val/closed_loop_accuracy", "val/exact_match", "val/loss", "train/samples_per_second")
    accuracy, exact_match, loss, speeds = ([one.value for one in scalars(tag)] for tag in tags)
    steps = [one.step + 1 for one in scalars(tags[0])]
    return Curve(steps, accuracy, exact_match, loss, median(speeds or [math.nan]))


def still_rising(accuracy: list[float], exact_match: list[float], loss: list[float], samples: int) -> bool:
    """Whether the learning curve was still rising when training ended.

    It was if the accuracy is below 0.99, and the last quarter of the validations is better than all earlier ones: in
    accuracy or exact match by more than two standard errors of `samples` samples, or in loss by more than 5%.
    """
    first = min(len(loss) - 1, math.ceil(len(loss) * 3 / 4))
    if first < 1 or max(accuracy) >= 0.99:
        return False
    rises = (_rise(scores[:first], scores[first:], samples) for scores in (accuracy, exact_match))
    return any(rises) or min(loss[first:]) < 0.95 * min(loss[:first])


def _rise(before: list[float], after: list[float], samples: int) -> bool:
    best = max(before)
    return max(after) - best > 2 * math.sqrt(max(best * (1 - best), 1 / samples) / samples)
