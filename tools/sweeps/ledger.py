"""The results of a sweep: a row of results.csv for each test of a trial, and its curve in curves.csv."""

import csv
import io
from pathlib import Path
from typing import Any

from lit_retrieval.training.score_name import QUANTITIES, Group, ScoreName
from sweeps import files
from sweeps.curve import still_rising
from sweeps.intervals import wilson

SHARES = ("closed_loop_accuracy", "all_right", "undecided", "exact_match")  # shares of samples, with intervals
CODE = "random_access_code"  # a distribution of tasks
BASE = (
    "hash", "point", "level", "test", "seed", "commit", "device", "task", "distribution", "regime", "sizes", "samples",
    "test_samples", "checkpoint", "minutes", "samples_per_second", "parameters", "state_bits", "longest",
    "still_rising", "attempts", "finished", "command",
)  # fmt: skip
CURVES = (
    "hash", "point", "seed", "regime", "sizes", "samples", "closed_loop_accuracy", "closed_loop_accuracy_low",
    "closed_loop_accuracy_high", "exact_match", "loss",
)  # fmt: skip


def write_ledger(sweep: Path) -> int:
    """Write results.csv and curves.csv from all results, in the order in which they finished; returns their number.

    Both files are written as a whole, so that a killed sweep leaves no partial or repeated row.
    """
    found = [files.read(path) for path in sweep.glob("trials/*/result.json")]
    results = sorted((one for one in found if one is not None), key=lambda one: (one["finished"], one["hash"]))
    rows = [row(test) for result in results for test in _tests(result)]
    columns = list(dict.fromkeys([*BASE, *(name for one in rows for name in one)]))
    files.write_text(_table(rows, columns), sweep / "results.csv")
    files.write_text(_table([point for result in results for point in curve(result)], CURVES), sweep / "curves.csv")
    return len(results)


def _tests(result: dict[str, Any]) -> list[dict[str, Any]]:
    """A result for each test of a trial; `test` is its name."""
    several = result.get("tests", {})
    return [{**result, "test": name, **scores} for name, scores in several.items()] or [result]


def row(result: dict[str, Any]) -> dict[str, Any]:
    """A result as a row of results.csv."""
    data, course, samples = result["configuration"]["data"], result["curve"], result["samples"]
    total = sum(samples.values())
    trained = course["steps"][-1] * result["samples_per_step"] if course["steps"] else 0
    rising = still_rising(course["accuracy"], course["exact_match"], course["loss"], _validated(result))
    scores = result["scores"]
    if len(samples) == 1:  # a single size is not logged separately
        alone = next(iter(samples))
        scores = {**scores, **{_name(alone, name): scores[name] for name in QUANTITIES if name in scores}}
    return {
        **{name: result[name] for name in BASE if name in result and name != "samples"},
        "task": data["task"]["class_path"].rpartition(".")[2],
        "distribution": data["task"].get("init_args", {}).get("distribution", ""),
        "regime": data["regime"],
        "sizes": _sizes(data["sizes"]),
        "samples": trained,
        "test_samples": total,
        "minutes": f"{result['minutes']:.2f}",
        "samples_per_second": f"{course['samples_per_second']:.1f}",
        "still_rising": int(rising),
        **_scores(None, scores, total),
        **{name: value for size in samples for name, value in _scores(size, scores, samples[size]).items()},
        **{_name(size, "state_bits"): bits for size, bits in result.get("state_bits_of_sizes", {}).items()},
        **{_name(size, "random_bits"): bits for size, bits in result.get("random_bits", {}).items()},
        **{name: f"{value:.6g}" for name, value in scores.items() if _kind(name) in ("distance", "task")},
    }


def _name(size: str | None, quantity: str) -> str:
    """The column of a quantity of a size, or of all samples."""
    return str(ScoreName(quantity, Group() if size is None else Group("size", size)))


def _kind(column: str) -> str:
    return ScoreName.parse(column).group.kind


def curve(result: dict[str, Any]) -> list[dict[str, Any]]:
    """A result's learning curve, a row for each validation."""
    course, data = result["curve"], result["configuration"]["data"]
    of_trial = {name: result[name] for name in ("hash", "point", "seed")}
    of_trial |= {"regime": data["regime"], "sizes": _sizes(data["sizes"])}
    columns = zip(course["steps"], course["accuracy"], course["exact_match"], course["loss"], strict=True)
    return [
        {
            **of_trial,
            "samples": step * result["samples_per_step"],
            **_share(None, "closed_loop_accuracy", accuracy, _validated(result)),
            "exact_match": f"{exact:.6g}",
            "loss": f"{loss:.6g}",
        }
        for step, accuracy, exact, loss in columns
    ]


def _validated(result: dict[str, Any]) -> int:
    """The number of samples of a validation; results of earlier versions have it in their configuration alone."""
    return int(result.get("validated", result["configuration"]["data"]["val_samples"]))


def _scores(size: str | None, scores: dict[str, float], samples: int) -> dict[str, str]:
    named: dict[str, str] = {}
    for name in QUANTITIES:
        if (value := scores.get(_name(size, name))) is None:  # a quantity that a later commit has added
            continue
        named |= _share(size, name, value, samples) if name in SHARES else {_name(size, name): f"{value:.6g}"}
    return named


def _share(size: str | None, name: str, value: float, samples: int) -> dict[str, str]:
    """A share of samples with its interval, as columns."""
    low, high = wilson(value, samples)
    return {
        _name(size, name): f"{value:.6g}",
        _name(size, f"{name}_low"): f"{low:.4f}",
        _name(size, f"{name}_high"): f"{high:.4f}",
    }


def _sizes(sizes: Any) -> str:
    return " ".join(map(str, sizes)) if isinstance(sizes, list | dict) else str(sizes)


def _table(rows: list[dict[str, Any]], columns: Any) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
