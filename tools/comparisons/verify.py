"""Runs rows of a comparison again: `python tools/compare.py verify rows.csv --only MyRecurrence mqar`."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sweeps import files
from sweeps.folder import alone, check_commits, check_tests
from sweeps.grid import Trial, trials
from sweeps.runners import check_slots, run_here

from comparisons import rows, submitted
from comparisons.cells import Point, failure, grid, of_code
from comparisons.layers import Layer
from comparisons.protocol import Protocol
from comparisons.settings import Setting, build
from lit_retrieval.errors import UserError
from lit_retrieval.parsing import OneLineErrors

Rows = list[dict[str, str]]
_FAILED = 1


class Verdict(NamedTuple):
    """The results of a row's trainings when they were repeated.

    Args:
        row: The published row.
        accuracy: The new accuracy; None if a training failed.
        state_bits: The new number of state bits at the row's size.
        parameters: The new number of parameters of all blocks.
        same_samples: Whether every sample has the same number of right answers for every seed; None if no samples were
            published.
    """

    row: dict[str, str]
    accuracy: float | None
    state_bits: int
    parameters: int
    same_samples: bool | None

    @property
    def holds(self) -> bool:
        """Whether the accuracy is within the published interval or range of seeds, and the model has the same size."""
        if self.accuracy is None or self._other:
            return False
        low = min(float(self.row[name]) for name in ("low", "lowest_seed"))
        high = max(float(self.row[name]) for name in ("high", "highest_seed"))
        return low <= round(self.accuracy, 4) <= high

    @property
    def _other(self) -> str:
        """How the model differs from the published one; empty if it does not."""
        now = {"state_bits": (self.state_bits, "bits of state"), "parameters": (self.parameters, "parameters")}
        differing = [
            f"{number:,} {what}, published {int(self.row[name]):,}"
            for name, (number, what) in now.items() if number != int(self.row[name])
        ]  # fmt: skip
        return "; ".join(differing)

    def __str__(self) -> str:
        row = self.row
        named = f"{row['recurrence']} {row['suite']} {row['size']}"
        if self.accuracy is None:
            return f"{named}: a training failed, published {row['accuracy']}"
        if self._other:
            return f"{named}: {self._other}: DIFFERS"
        how = "the same samples right" if self.same_samples else f"published interval {row['low']} to {row['high']}"
        return (
            f"{named}: {self.accuracy:.4f}, published {row['accuracy']}, {how}: {'holds' if self.holds else 'DIFFERS'}"
        )


def main(words: Sequence[str]) -> int:
    """Run rows again; returns the exit status, 1 if any does not hold."""
    parser = OneLineErrors(description="Run rows again, with their learning rate and seeds, and compare the accuracy.")
    parser.add_argument("rows", type=Path, help="a CSV file that tools/compare.py has written")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="words that a row must have one of for "
                        "each kind: names of layers, suites and budgets of state")  # fmt: skip
    parser.add_argument("--protocol", help="the protocol's file; if absent, the one in configs/compare")
    parser.add_argument("-o", "--output", type=Path, help="folder of the trainings; if absent, compare/verify-PROTOCOL")
    parser.add_argument("--slots", type=int, default=1, help="trainings at a time")
    parser.add_argument("--any_commit", action="store_true", help="count trainings that another commit has run there")
    arguments = parser.parse_args(words)
    check_slots(arguments.slots, "here")
    found, samples, protocol = submitted.read([arguments.rows], arguments.protocol)
    chosen = choose(found, arguments.only)
    output = (arguments.output or Path("compare") / f"verify-{protocol.identity}").absolute()
    with alone(output):
        verdicts = list(verify(chosen, samples, protocol, output, arguments.slots, arguments.any_commit))
    print(*verdicts, sep="\n")
    return 0 if all(one.holds for one in verdicts) else _FAILED


def choose(found: Rows, words: Sequence[str]) -> Rows:
    """The rows with an accuracy that match the words; of several words for one column, one must match."""
    columns = ("recurrence", "suite", "state_budget")
    asked: dict[str, list[str]] = {}
    for word in words:
        column = next((name for name in columns if any(row[name] == word for row in found)), None)
        if column is None:
            raise UserError(f"--only must name layers, suites or budgets of state of the rows, got {word}")
        asked.setdefault(column, []).append(word)
    chosen = [row for row in found if row["accuracy"] and all(row[name] in values for name, values in asked.items())]
    if not chosen:
        raise UserError(f"no row with an accuracy has {' and '.join(words)}; name others in --only")
    return chosen


def verify(
    chosen: Rows, samples: Rows, protocol: Protocol, output: Path, slots: int, any_commit: bool = False
) -> Iterator[Verdict]:
    """Repeat the trainings of rows; raises `UserError` if another commit has begun one, unless `any_commit`."""
    commit = files.commit()
    grouped: dict[tuple[str, ...], Rows] = {}
    for row in chosen:
        grouped.setdefault((row["recurrence"], row["suite"], row["state_budget"]), []).append(row)
    for own in grouped.values():
        layer, point = _rebuild(own[0])
        seeds = [int(seed) for seed in own[0]["seeds"].split()]
        asked = grid(layer, point, protocol, [float(own[0]["learning_rate"])], seeds, [own[0]["suite"]])
        again = [of_code(trial, layer.code()) for trial in trials(asked, protocol.folder)]
        if not any_commit:
            check_commits(again, output, commit)
        check_tests(again, output)
        waiting = [one for one in again if not (files.trial_folder(output, one.hash) / "result.json").exists()]
        partial(run_here, slots=slots)(waiting, asked, output, commit)
        parameters = build(layer, point.setting, protocol.shape, 1).num_parameters
        yield from (_verdict(row, again, samples, output, parameters) for row in own)


def _rebuild(row: dict[str, str]) -> tuple[Layer, Point]:
    layer = Layer(row["recurrence"], row["class_path"], with_attention=row["with_attention"] == "1")
    width, parameters, bits, growth = (int(row[name]) for name in ("width", "parameters", "state_bits", "growth"))
    setting = Setting(json.loads(row["init_args"]), width, parameters, bits, growth, row["within_state"] == "1")
    return layer, Point(int(row["state_budget"]), setting, [row["suite"]])


def _verdict(row: dict[str, str], again: Sequence[Trial], samples: Rows, output: Path, parameters: int) -> Verdict:
    if any(failure(trial, output) for trial in again):
        return Verdict(row, None, 0, parameters, None)
    of_seed, same = [], []
    for trial in again:
        right, asked = rows.answers_of_size(files.trial_folder(output, trial.hash), int(row["size"]))
        of_seed.append(float(np.mean(right / asked)))
        named = {key: row[key] for key in rows.OF_SAMPLES[:5]} | {"seed": str(trial.seed)}
        same += [np.array_equal(rows.decode(one["right"]), right) for one in samples if named.items() <= one.items()]
    result = files.read(files.trial_folder(output, again[0].hash) / "result.json") or {}
    bits = int(result["state_bits_of_sizes"][row["size"]])
    return Verdict(row, float(np.mean(of_seed)), bits, parameters, all(same) if same else None)
