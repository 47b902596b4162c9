"""Parses sizes of problems and their weights."""

import math
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lit_retrieval.errors import UserError
from lit_retrieval.tasks.task import Task

# Sizes as users write them: [8, 16], or {8: 3, 16: 1} with weights, or 4..8, or 8..64..8 with a step.
SizeSpec = list[int] | dict[int, float] | str

_MOST_SIZES = 10_000
_LARGEST_FOUND = 1024


@dataclass(frozen=True)
class Sizes:
    """Sizes in ascending order, and the weight of each.

    Args:
        values: The sizes, `(sizes,)`.
        weights: Relative frequency of each, `(sizes,)`.
    """

    values: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]

    @classmethod
    def parse(cls, written: SizeSpec) -> "Sizes":
        """Parse sizes; raises `UserError` for an empty list, a repeated size, or a weight of 0, nan or inf."""
        weights = dict(written.items() if isinstance(written, dict) else _weigh_equally(written))
        if not weights or not 0 < min(weights.values()) <= sum(weights.values()) < math.inf:  # false for nan, too
            raise UserError(
                f"sizes must be one size or more, with weights above 0 and a finite sum, got {written}; set "
                "data.sizes, for example to [16]"
            )
        values = sorted(weights)
        return cls(np.array(values, np.int64), np.array([weights[size] for size in values], np.float64))


def _weigh_equally(written: list[int] | str) -> list[tuple[int, float]]:
    if isinstance(written, list) and len(set(written)) < len(written):
        raise UserError(
            f"sizes must be listed once each, got {written}; set data.sizes, with weights as in {{8: 2, 16: 1}} if "
            "some are to be drawn more often"
        )
    return [(size, 1.0) for size in (_range(written) if isinstance(written, str) else written)]


def _range(written: str) -> range:
    bounds = re.fullmatch(r"\s*(\d+)\s*\.\.\s*(\d+)\s*(?:\.\.\s*([1-9]\d*)\s*)?", written)
    if not bounds:
        raise UserError(
            f"sizes must be a range such as 4..8, or 8..64..8 with a step, or a list such as [8, 16], got {written!r}; "
            "set data.sizes"
        )
    sizes = range(int(bounds[1]), int(bounds[2]) + 1, int(bounds[3] or 1))
    if len(sizes[: _MOST_SIZES + 1]) > _MOST_SIZES:
        raise UserError(f"sizes must be {_MOST_SIZES} sizes or fewer, got {written}; write a step, as in 8..64..8")
    return sizes


def find_size(task: Task, size: int) -> int:
    """The first size that the task has, trying `size`, larger ones up to 1024, then smaller ones; else `size`."""
    others = (*range(size + 1, _LARGEST_FOUND + 1), *range(size - 1, 0, -1))
    return next((one for one in (size, *others) if _has_size(task, one)), size)


def _has_size(task: Task, size: int) -> bool:
    """Whether `check_size` accepts a size; errors other than `UserError` are reported later by the task's checks."""
    try:
        task.check_size(size)
    except UserError:
        return False
    except Exception:  # any mistake of a user's class
        return True
    return True
