"""Tests whether one layer is better: `python tools/compare.py differ rows.csv deltanet mamba --suite mqar`."""

from collections.abc import Sequence
from math import erfc, sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from comparisons import submitted
from comparisons.rows import OF_SAMPLES, decode
from comparisons.significance import LEVEL, Counts, are_apart, holm, sign_test, sign_tests
from comparisons.summary import Summary
from lit_retrieval.errors import UserError
from lit_retrieval.parsing import OneLineErrors

_Z = 1.96  # of a 95% interval
_LEAST = 1e-300  # smaller p-values are printed as "below" this one
_DOES_NOT_HOLD = 1


class Cell(NamedTuple):
    """A row with the right answers of each seed, each `(samples,)`."""

    row: dict[str, str]
    seeds: list[Counts]

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """The share of right answers of each sample, averaged over seeds; their mean is the accuracy."""
        right: npt.NDArray[np.float64] = np.mean(self.seeds, 0, dtype=np.float64)
        return right * (float(self.row["accuracy"]) / float(right.mean()) if right.any() else 0.0)

    def __str__(self) -> str:
        row = self.row
        return (
            f"{row['recurrence']} on {row['suite']} {row['size']}: {row['accuracy']} ({row['low']} to {row['high']}), "
            f"seeds {row['lowest_seed']} to {row['highest_seed']}, {int(row['state_bits']):,} bits of state"
        )


def main(words: Sequence[str]) -> int:
    """Print whether one layer is better than another; returns the exit status, 1 if it is not."""
    parser = OneLineErrors(
        description="Say whether the first layer is better, with the interval of the difference and its test."
    )
    parser.add_argument("rows", type=Path, help="a CSV file that tools/compare.py has written")
    parser.add_argument("first", help="name of a layer in it")
    parser.add_argument("second", help="name of another, or of the same where suites or budgets are two")
    parser.add_argument("--suite", nargs="+", required=True, help="a suite, or one of each")
    parser.add_argument("--size", nargs="+", type=int, default=[], help="tested size, or one of each; if absent, that "
                        "of a suite with one")  # fmt: skip
    parser.add_argument("--state_bits", nargs="+", type=int, default=[], help="budget of state, or one of each; if "
                        "absent, the protocol's")  # fmt: skip
    parser.add_argument("--protocol", help="the protocol's file; if absent, the one in configs/compare")
    arguments = parser.parse_args(words)
    for name in ("suite", "size", "state_bits"):
        if len(getattr(arguments, name)) > 2:
            raise UserError(f"--{name} must be one for both or one of each, got {len(getattr(arguments, name))}")
    found = submitted.read([arguments.rows], arguments.protocol)
    budgets = arguments.state_bits or [found.protocol.shape.state_bits]
    sides = [
        find(found, name, arguments.suite[place], arguments.size[place] if arguments.size else None, budgets[place])
        for name, place in ((arguments.first, 0), (arguments.second, -1))
    ]
    text, holds = statement(found, *sides)
    print(text)
    return 0 if holds else _DOES_NOT_HOLD


def find(found: submitted.Submitted, name: str, suite: str, size: int | None, budget: int) -> Cell:
    """A row with its samples; raises `UserError` if there is none."""
    asked = {"recurrence": name, "suite": suite, "state_budget": str(budget)}
    asked |= {} if size is None else {"size": str(size)}
    rows = [row for row in found.rows if asked.items() <= row.items()]
    sizes = ", ".join(row["size"] for row in rows)
    if len(rows) != 1:
        told = f"has the sizes {sizes}; set one in --size" if rows else "is not in the rows; name another"
        raise UserError(f"{' '.join(asked.values())} {told}")
    named = {key: rows[0][key] for key in OF_SAMPLES[:5]}
    seeds = [decode(one["right"]) for one in found.samples if named.items() <= one.items()]
    if not rows[0]["accuracy"] or not seeds:
        raise UserError(f"{name} on {suite} must have an accuracy and samples, got {rows[0]['status']}; name another")
    return Cell(rows[0], seeds)


def statement(found: submitted.Submitted, one: Cell, other: Cell) -> tuple[str, bool]:
    """A sentence about two rows, and whether the first is better, as `significance.differences` defines it.

    In one suite the test is the sign test. Between two suites, whose samples are not paired, it is a z-test of the two
    means. Holm's correction is over all pairs of the table and this one.
    """
    first, second = one.shares, other.shares
    is_paired = all(one.row[key] == other.row[key] for key in ("suite", "size"))
    if is_paired:
        p_value = sign_test(np.sum(one.seeds, 0), np.sum(other.seeds, 0))
        error = float(np.std(first - second, ddof=1)) / sqrt(len(first))
    else:
        error = sqrt(float(np.var(first, ddof=1)) / len(first) + float(np.var(second, ddof=1)) / len(second))
        p_value = erfc(abs(first.mean() - second.mean()) / error / sqrt(2)) if error else 1.0
    difference = float(first.mean() - second.mean())
    others = sign_tests(Summary(found.rows, found.samples).right_answers())
    is_past, apart = holm([p_value, *others.values()])[0], are_apart(one.seeds, other.seeds)
    if not is_paired:
        apart = float(one.row["lowest_seed"]) > float(other.row["highest_seed"])
    holds = is_past and apart and difference > 0
    how = "a sign test over the same samples" if is_paired else "a z-test over the samples of two suites"
    how += f": p = {p_value:.1e}" if p_value > _LEAST else f": p < {_LEAST:g}"
    return "\n".join([
        str(one), str(other),
        f"difference: {difference:+.3f} ({difference - _Z * error:+.3f} to {difference + _Z * error:+.3f}, 95% over "
        f"{len(first):,} samples)",
        f"{how}, {'past' if is_past else 'not past'} Holm's correction (level {LEVEL:g}) over all "
        f"{len(others):,} pairs of the table; the seeds {'do not overlap' if apart else 'overlap'}",
        f"the first is better: {'holds' if holds else 'DOES NOT HOLD'}",
    ]), holds  # fmt: skip
