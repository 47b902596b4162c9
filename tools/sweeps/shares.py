"""The share of a GPU that a trial gets."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_at_least

EVERY = "any"  # the row that fits every trial

Shares = float | dict[str, float]


def check_shares(gpus: Any, path: Path) -> None:
    """Raise `UserError` unless all shares are from 0 to 1 or whole numbers of GPUs."""
    for row, share in _rows(gpus).items():
        name = "gpus" if row == EVERY else f"gpus.{row}"
        if isinstance(share, bool) or not isinstance(share, int | float):
            raise UserError(f"{name} must be a number, got {share}; set it in {path}")
        check_at_least(name, share, 0, f"it in {path}")
        if share > 1 and share != int(share):
            raise UserError(f"{name} must be a whole number above 1, got {share}; set it in {path}")


def find_shares(gpus: Shares, trials: Sequence[Iterable[str]]) -> list[float]:
    """The share of each trial, from the last row whose words all describe the trial.

    Args:
        gpus: A share for all trials, or shares by words, such as `{"any": 0.25, "retrieval 128": 0.5}`.
        trials: The words that describe each trial.

    Raises `UserError` for a trial without a row, and for a row without a trial.
    """
    rows = {row: set(str(row).split()) - {EVERY} for row in _rows(gpus)}
    fitting = [[row for row, words in rows.items() if words <= set(described)] for described in trials]
    for described, found in zip(trials, fitting, strict=True):
        if not found:
            raise UserError(f"gpus must have a row for every trial, and none fits {' '.join(described)}; add a row any")
    if unused := [row for row in rows if not any(row in found for found in fitting)]:
        raise UserError(
            f"each row of gpus must fit a trial, got {unused[0]}; the words of a trial are those of its point, regime "
            f"and sizes, such as {' '.join(trials[-1])}"
        )
    return [_rows(gpus)[found[-1]] for found in fitting]


def _rows(gpus: Any) -> dict[str, Any]:
    return gpus if isinstance(gpus, dict) else {EVERY: gpus}
