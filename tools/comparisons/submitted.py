"""Reads rows from untrusted files, and checks them against the protocol that they name."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from comparisons import rows
from comparisons.protocol import TOLERANCE, Protocol, Suite, find_protocol, is_near, read_protocol
from lit_retrieval.errors import UserError

Row = dict[str, str]
_SHARES = ("accuracy", "low", "high", "lowest_seed", "highest_seed", "chance")
_COUNTS = ("state_bits", "growth", "parameters", "width", "test_samples", "samples")


class Submitted(NamedTuple):
    """Rows, those of their samples, and their protocol."""

    rows: list[Row]
    samples: list[Row]
    protocol: Protocol


def read(paths: Sequence[Path], protocol: str | None = None) -> Submitted:
    """Read rows from files; raises `UserError` unless they follow the protocol.

    Args:
        paths: CSV files, each with the file of its samples beside it; of equal rows, the first with an accuracy counts.
        protocol: The protocol's file; the one in configs/compare if absent.
    """
    found, samples = rows.read(paths)
    read = protocol_of(found, protocol)
    suites = {name: read.suite(name) for name in {row["suite"] for row in found} & read.suites.keys()}
    for row in found:
        try:
            _check(row, read, suites)
        except ValueError as error:
            named = f"{row['recurrence']} {row['suite']} {row['size']}"
            raise UserError(f"the row of {named} can't be one of {read.identity}: {error}; run it again") from None
    _check_samples(samples, found)
    return Submitted(found, samples, read)


def protocol_of(found: Sequence[Row], name: str | None) -> Protocol:
    """The protocol of rows; raises `UserError` if its file has changed since."""
    identity = found[0]["protocol"]
    protocol = read_protocol(find_protocol(name or identity.rpartition("-")[0].rpartition("-")[0]))
    if protocol.identity != identity:
        raise UserError(
            f"the rows are of the protocol {identity}, and the file has {protocol.identity}; check out the commit of "
            "the rows, or name another file in --protocol"
        )
    return protocol


def _check(row: Row, protocol: Protocol, suites: dict[str, Suite]) -> None:
    """Raise `ValueError` unless a row follows the protocol."""
    suite = suites.get(row["suite"])
    _must(suite is not None, "suite", ", ".join(protocol.suites), row["suite"])
    assert suite is not None
    _must(int(row["size"]) in suite.sizes, "size", f"one of {suite.sizes}", row["size"])
    _must(row["suite_sha256"] == suite.sha256, "suite_sha256", suite.sha256, row["suite_sha256"])
    budgets = [protocol.shape.state_bits, *protocol.frontier.state_bits]
    _must(int(row["state_budget"]) in budgets, "state_budget", f"one of {budgets}", row["state_budget"])
    if not row["accuracy"]:
        _must(bool(row["status"] and row["reason"]), "reason", "given where there is no accuracy", "")
        return
    for name in _SHARES:
        _must(0 <= float(row[name]) <= 1, name, "from 0 to 1", row[name])
    for name in _COUNTS:
        _must(int(row[name]) >= 0, name, "0 or more", row[name])
    for low, high in (("low", "high"), ("lowest_seed", "highest_seed")):
        _must(float(row[low]) <= float(row["accuracy"]) <= float(row[high]), "accuracy", f"from {low} to {high}",
              row["accuracy"])  # fmt: skip
    parameters = protocol.shape.parameters
    _must(is_near(int(row["parameters"]), parameters), "parameters", f"within {TOLERANCE:.0%} of "
          f"{parameters:,}", row["parameters"])  # fmt: skip
    rates, seeds = protocol.learning_rates, " ".join(map(str, protocol.seeds))
    _must(float(row["learning_rate"]) in rates, "learning_rate", f"one of {rates}", row["learning_rate"])
    _must(row["seeds"] == seeds, "seeds", seeds, row["seeds"])
    for name in ("training", "decoding", "minutes"):
        _must(float(row[name]) >= 0, name, "0 or more", row[name])


def _must(holds: bool, column: str, what: str, given: str) -> None:
    if not holds:
        raise ValueError(f"{column} must be {what}, got {given}")


def _check_samples(samples: Sequence[Row], found: Sequence[Row]) -> None:
    numbers = {tuple(row[key] for key in rows.OF_SAMPLES[1:5]): row["test_samples"] for row in found}
    for one in samples:
        asked = numbers.get(tuple(one[key] for key in rows.OF_SAMPLES[1:5]), "")
        try:
            is_right = str(len(rows.decode(one["right"]))) == asked
        except (ValueError, zlib.error):
            is_right = False
        if not is_right:
            raise UserError(
                f"the samples of {one['recurrence']} {one['suite']} {one['size']} must be {asked or 'those of a row'}, "
                "as tools/compare.py encodes them; run it again"
            )
