"""Results of tools/sweep.py and of the paper, read from CSV."""

import csv
from collections.abc import Iterable, Sequence
from math import inf
from pathlib import Path
from statistics import median
from typing import NamedTuple

from sweeps.ledger import BASE

from lit_retrieval.errors import UserError
from lit_retrieval.training.score_name import ScoreName

PAPER = Path(__file__).parents[2] / "data/paper/figures.csv"
REGIMES = ("vanilla", "cot", "retrieval")
_OF_ROW = (
    "hash", "point", "seed", "task", "distribution", "regime", "sizes", "samples", "state_bits", "still_rising",
    "closed_loop_accuracy", "paper_score", "undecided", "exact_match",
)  # fmt: skip
_OF_SIZE = (
    "closed_loop_accuracy", "closed_loop_accuracy_low", "closed_loop_accuracy_high", "paper_score", "undecided",
    "exact_match",
)  # fmt: skip
_OF_CURVE = ("hash", "point", "seed", "regime", "sizes", "samples", "closed_loop_accuracy")


class CurvePoint(NamedTuple):
    """Closed-loop accuracy and loss of a validation after `samples` of training; older files lack the interval."""

    samples: int
    accuracy: float
    low: float
    high: float
    loss: float = inf


class Row(NamedTuple):
    """A finished trial.

    Args:
        point: Its name in the grid, such as `mamba_0.5M`.
        test: Name of the test, in a sweep with several tests of each model; else empty.
        level: The task and its changed keys, in a sweep over tasks with levels of difficulty; else empty.
        seed: Random seed of the model and the samples.
        task: Class of the task.
        distribution: Distribution of the task.
        regime: vanilla, cot or retrieval.
        sizes: Training sizes, as text.
        samples: Training samples seen.
        state_bits: Bits of state at the end of the longest row.
        is_rising: Whether the curve was still rising when training ended.
        scores: All scores, by column.
        curve: A point for each validation.
        hash: Hash of its configuration.
    """

    point: str
    test: str
    level: str
    seed: str
    task: str
    distribution: str
    regime: str
    sizes: str
    samples: int
    state_bits: int
    is_rising: bool
    scores: dict[str, float]
    curve: list[CurvePoint]
    hash: str = ""

    @property
    def architecture(self) -> str:
        """The first part of the point's name."""
        return self.point.rpartition("_")[0] or self.point

    @property
    def model_size(self) -> str:
        """The last part of the point's name."""
        return self.point.rpartition("_")[2]

    @property
    def chance(self) -> float | None:
        """The accuracy of a guess, which an undecided answer scores; None if every answer was decided."""
        scores = [self.scores, *self.by_size.values()]
        worth = [
            (one["paper_score"] - one["closed_loop_accuracy"]) / one["undecided"] for one in scores if one["undecided"]
        ]
        return median(worth) if worth else None

    @property
    def validated(self) -> float:
        """The best validation accuracy; in results without a curve, the test accuracy."""
        return max((point.accuracy for point in self.curve), default=self.scores["closed_loop_accuracy"])

    @property
    def lowest_loss(self) -> float:
        """The lowest loss of a validation; infinite in results without one."""
        return min((point.loss for point in self.curve), default=inf)

    @property
    def by_size(self) -> dict[int, dict[str, float]]:
        """The test scores of each size."""
        return _groups(self.scores, "size")

    def bits_of(self, size: int) -> int:
        """Bits of state at the end of the longest row of a size; in older results, of all sizes."""
        return int(self.by_size[size].get("state_bits", self.state_bits))

    def random_bits_of(self, size: int) -> int | None:
        """The random bits of a random-access code of a size; in older results only for tasks with one bit per word."""
        bits = self.by_size[size].get("random_bits", size if self.task in ("Counting", "Index") else None)
        return None if bits is None else int(bits)

    @property
    def by_distance(self) -> dict[int, dict[str, float]]:
        """The scores of each range of query distances, by its smallest, a power of two."""
        return _groups(self.scores, "distance")


class PaperValue(NamedTuple):
    """One accuracy in a figure of the paper, of an architecture, model size, graph size and regime.

    In Figure 6, n is the number of paragraphs, and the regime their order: retrieval_required or retrieval_free.
    """

    figure: str
    architecture: str
    model_size: str
    n: int
    regime: str
    accuracy: float


def read_rows(paths: Iterable[Path]) -> list[Row]:
    """Read the trials of results.csv files, and their curves from a curves.csv beside each, if there is one.

    A trial that is in several files is read once; `UserError` is raised if it has other scores there.
    """
    rows: dict[str, Row] = {}
    for path in paths:
        lines = _read(path, _OF_ROW, _OF_SIZE)
        beside = path.parent / "curves.csv"
        curves = _read(beside, _OF_CURVE) if beside.is_file() else []
        for line in lines:
            try:
                row = _row(line, curves)
            except (TypeError, ValueError) as error:
                raise UserError(f"scores in {path} must be numbers: {error}") from None
            if rows.setdefault(line["hash"] + row.test, row).scores != row.scores:
                raise UserError(f"{path} has other scores of the trial {line['hash']} than a file before it; name one")
    if not rows:
        raise UserError("the files have no results; run `python tools/sweep.py` first")
    return list(rows.values())


def best_of_seeds(rows: Iterable[Row]) -> list[Row]:
    """One row for each seed; of several, such as from a grid of learning rates, the one with the best validation.

    Rows are compared by accuracy, then loss, then hash, so that their order does not matter.
    """
    best: dict[str, list[Row]] = {}
    for row in rows:
        best.setdefault(row.seed, []).append(row)
    return [min(same, key=lambda row: (-row.validated, row.lowest_loss, row.hash)) for same in best.values()]


def read_paper(path: Path = PAPER, figures: Sequence[str] = ("2", "5")) -> list[PaperValue]:
    """Read the accuracies of some of the paper's figures: 2, 5 and 6."""
    return [
        PaperValue(one["figure"], one["model"], one["size"], int(one["n"]), one["setup"], float(one["accuracy"]))
        for one in _read(path, ("figure", "model", "size", "n", "setup", "accuracy"))
        if one["figure"] in figures
    ]


def _read(path: Path, needed: tuple[str, ...], of_size: tuple[str, ...] = ()) -> list[dict[str, str]]:
    """Read a file that has the columns `needed` and, for each size with a column, those `of_size`."""
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            sizes = dict.fromkeys(name.partition("/")[0] for name in columns if name.startswith("size_"))
            all_needed = [*needed, *(f"{size}/{score}" for size in sizes for score in of_size)]
            missing = [name for name in all_needed if name not in columns]
            if not missing:
                return list(reader)
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{path} can't be read; name the results.csv of a sweep's folder") from None
    raise UserError(
        f"{path} has no column {', '.join(missing)}; name a results.csv written by tools/sweep.py. If an older version "
        "wrote it, start the sweep again: it rewrites the file from its finished trials"
    )


def _row(line: dict[str, str], curves: list[dict[str, str]]) -> Row:
    scores = {name: float(value) for name, value in line.items() if name not in BASE and _is_number(value)}
    curve = [_point(one) for one in curves if one["hash"] == line["hash"]]
    return Row(
        line["point"], line.get("test", ""), line.get("level", ""), line["seed"], line["task"], line["distribution"],
        line["regime"], line["sizes"], int(line["samples"]), int(line["state_bits"]), line["still_rising"] == "1",
        scores, curve, line["hash"],
    )  # fmt: skip


def _point(line: dict[str, str]) -> CurvePoint:
    accuracy = float(line["closed_loop_accuracy"])
    low, high = (float(line.get(f"closed_loop_accuracy_{end}") or accuracy) for end in ("low", "high"))
    return CurvePoint(int(line["samples"]), accuracy, low, high, float(line.get("loss") or inf))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _groups(scores: dict[str, float], kind: str) -> dict[int, dict[str, float]]:
    """The scores of each size or distance, by quantity; sizes also have bits of state and random bits."""
    groups: dict[int, dict[str, float]] = {}
    for text, value in scores.items():
        name = ScoreName.parse(text)
        if name.group.kind == kind:
            groups.setdefault(int(name.group.value), {})[name.quantity] = value
    return dict(sorted(groups.items()))
