"""The rows of a comparison: one for each layer, budget of state, suite and tested size."""

import base64
import csv
import io
import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sweeps import files
from sweeps.grid import Trial

from comparisons.cells import Point, failure, is_over
from comparisons.layers import Layer
from comparisons.protocol import Protocol, Suite, interval
from lit_retrieval import __version__
from lit_retrieval.errors import UserError
from lit_retrieval.runs import RunFolder
from lit_retrieval.training.right_answers import NAME

Counts = npt.NDArray[np.int64]

COLUMNS = (
    "protocol", "recurrence", "class_path", "init_args", "with_attention", "suite", "size", "task", "regime",
    "state_budget", "status", "reason", "accuracy", "low", "high", "lowest_seed", "highest_seed", "learning_rate",
    "rate_is_at_end", "state_bits", "within_state", "growth", "parameters", "width", "training", "decoding", "chance",
    "ceiling", "samples", "test_samples", "seeds", "minutes", "suite_sha256", "version", "commit", "device", "finished",
    "command",
)  # fmt: skip
_MOST = 2**16 - 1
OF_SAMPLES = ("protocol", "recurrence", "suite", "size", "state_budget", "seed", "right")
_STATUSES = {"a mistake in its configuration": "refused", "a loss that is not finite": "diverged"}


class Winner(NamedTuple):
    """The trials with the learning rate chosen by validation, one for each seed, with their results and folders."""

    rate: float
    results: list[dict[str, Any]]
    folders: list[Path]


def choose(trials: Sequence[Trial], folder: Path) -> Winner | None:
    """Choose the learning rate by each run's best validation, averaged over seeds; None if no run has finished.

    Rates are compared by accuracy, then loss; a tie goes to the lower rate. A rate with a failed seed is not chosen;
    the row says so unless the run diverged or was refused.
    """
    by_rate: dict[float, list[Trial]] = {}
    for trial in trials:
        by_rate.setdefault(_rate(trial), []).append(trial)
    winner, best = None, None
    for rate, own in sorted(by_rate.items()):
        folders = [files.trial_folder(folder, trial.hash) for trial in own]
        results = [one for one in (files.read(path / "result.json") for path in folders) if one is not None]
        if len(results) < len(own):
            continue
        curves = [one["curve"] for one in results]
        score = mean(max(one["accuracy"]) for one in curves), -mean(min(one["loss"]) for one in curves)
        if best is None or score > best:
            winner, best = Winner(rate, results, folders), score
    return winner


def right_answers(run: Path) -> tuple[Counts, Counts, Counts]:
    """Right answers, answers and size of each test sample of a trial, each `(samples,)`."""
    with np.load(run / "run" / NAME) as content:
        return content["right"], content["asked"], content["sizes"]


def answers_of_size(run: Path, size: int) -> tuple[Counts, Counts]:
    """Right answers and answers of each test sample of a size, each `(samples,)`.

    If samples have different numbers of answers, both are in parts of an answer, so many that all samples have equally
    many: a sample weighs the same whatever its number of answers, as in the accuracy.
    """
    right, asked, sizes = right_answers(run)
    right, asked = (counts[sizes == size].astype(np.int64) for counts in (right, asked))
    whole = np.lcm.reduce(asked)
    return right * (whole // asked), np.full_like(asked, whole)


def encode(counts: Counts) -> str:
    """Numbers below 65,536 as text; `decode` reads it. Raises `UserError` for a larger one."""
    if counts.max(initial=0) > _MOST:
        raise UserError(
            f"a sample must have {_MOST:,} parts of an answer or fewer, got {counts.max():,}; give the samples of "
            "a suite fewer different numbers of answers"
        )
    return base64.b85encode(zlib.compress(counts.astype("<u2").tobytes(), 9)).decode()


def decode(text: str) -> Counts:
    """The numbers in a text of `encode`."""
    return np.frombuffer(zlib.decompress(base64.b85decode(text)), "<u2").astype(np.int64)


def rows_of_point(
    layer: Layer, point: Point, protocol: Protocol, suites: dict[str, Suite], trials: Sequence[Trial], folder: Path,
    speed: dict[str, str],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:  # fmt: skip
    """The rows of a point, and those of its samples."""
    rows, samples = [], []
    for name in point.suites:
        own = [trial for trial in trials if trial.level == name]
        winner = choose(own, folder)
        for size in suites[name].sizes:
            row = {**_head(layer, protocol, name, size, suites[name], point.state_bits), **_of_setting(point)}
            if winner is None:
                rows.append({**row, **_failed([reason for trial in own if (reason := failure(trial, folder))])})
                continue
            of_size = [answers_of_size(run, size) for run in winner.folders]
            scores = _scores(winner, size, suites[name], of_size, protocol)
            scores["reason"] = "; ".join(filter(None, [scores["reason"], *_left_out(own, folder)]))
            rows.append({**row, **speed, **scores})
            for seed, (right, _) in zip(protocol.seeds, of_size, strict=True):
                named = {key: row[key] for key in OF_SAMPLES if key in row}
                samples.append({**named, "seed": seed, "right": encode(right)})
    return rows, samples


def refused_rows(layer: Layer, protocol: Protocol, suites: dict[str, Suite], reason: str) -> list[dict[str, Any]]:
    """The rows of a layer that can't be built within the budgets."""
    return [
        {**_head(layer, protocol, name, size, suite, protocol.shape.state_bits), "status": "refused", "reason": reason}
        for name, suite in suites.items()
        for size in suite.sizes
    ]


def _head(
    layer: Layer, protocol: Protocol, name: str, size: int, suite: Suite, state_bits: int
) -> dict[str, Any]:  # fmt: skip
    return {
        "protocol": protocol.identity, "recurrence": layer.name, "class_path": layer.class_path,
        "init_args": json.dumps(layer.init_args), "with_attention": int(layer.with_attention), "suite": name,
        "size": size, "task": suite.task, "regime": suite.regime, "state_budget": state_bits,
        "chance": f"{suite.chance:.4g}", "suite_sha256": suite.sha256, "version": __version__,
    }  # fmt: skip


def _of_setting(point: Point) -> dict[str, Any]:
    one = point.setting
    return {
        "init_args": json.dumps(one.init_args), "width": one.width, "parameters": one.parameters, "growth": one.growth,
        "within_state": int(one.met), "state_bits": one.state_bits,
    }  # fmt: skip


def _failed(reasons: list[str]) -> dict[str, Any]:
    reason = reasons[-1] if reasons else "it was interrupted"
    return {"status": next((told for part, told in _STATUSES.items() if part in reason), "failed"), "reason": reason}


def _left_out(trials: Sequence[Trial], folder: Path) -> list[str]:
    """The learning rates that were left out because a training crashed, although it might run another time."""
    missing = {_rate(trial): failure(trial, folder) for trial in trials if not is_over(trial, folder)}
    return [
        f"the learning rate {rate:g} is left out until the same command runs it again: {reason or 'interrupted'}"
        for rate, reason in missing.items()
    ]


def _rate(trial: Trial) -> float:
    rate: float = trial.configuration["model"]["learning_rate"]
    return rate


def _scores(
    winner: Winner, size: int, suite: Suite, of_size: list[tuple[Counts, Counts]], protocol: Protocol
) -> dict[str, Any]:
    seeds = [float(np.mean(right / asked)) for right, asked in of_size]
    first = winner.results[0]
    bits = int(first["state_bits_of_sizes"][str(size)])
    low, high = interval(mean(seeds), len(of_size[0][0]))
    ceiling = suite.ceiling(size, bits)
    trained = [one["curve"]["steps"][-1] * one["samples_per_step"] for one in winner.results]
    has_time = all(_is_finished(RunFolder(folder / "run")) for folder in winner.folders)
    rates = sorted(protocol.learning_rates)
    return {
        "status": "ok" if has_time else "too slow",
        "reason": "" if has_time else f"training was stopped after {protocol.minutes:g} minutes",
        "accuracy": f"{mean(seeds):.4f}", "low": f"{low:.4f}", "high": f"{high:.4f}",
        "lowest_seed": f"{min(seeds):.4f}", "highest_seed": f"{max(seeds):.4f}", "learning_rate": f"{winner.rate:g}",
        "rate_is_at_end": int(len(rates) > 1 and winner.rate in (rates[0], rates[-1])), "state_bits": bits,
        "ceiling": "" if ceiling is None else f"{ceiling:.4f}", "samples": max(trained),
        "test_samples": len(of_size[0][0]), "seeds": " ".join(map(str, protocol.seeds)),
        "minutes": f"{sum(one['minutes'] for one in winner.results):.2f}", "commit": first["commit"],
        "device": first["device"], "finished": max(one["finished"] for one in winner.results),
        "command": first["command"],
    }  # fmt: skip


def _is_finished(run: RunFolder) -> bool:
    """Whether training took all its steps or solved the task, rather than being stopped by a time limit."""
    newest = run.newest()
    return newest is None or bool(newest.content["is_finished"])


def write(rows: Iterable[dict[str, Any]], columns: Sequence[str], path: Path) -> None:
    """Write rows as CSV, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_text(text.getvalue(), path)


def samples_file(path: Path) -> Path:
    """The file of samples for a file of rows: `laptop.samples.csv` for `laptop.csv`."""
    return path.with_name(f"{path.stem}.samples.csv")


def read(paths: Sequence[Path]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Read rows and their samples from files; raises `UserError` unless all are of one protocol.

    If several files have a row of the same layer, suite, size and budget, the first with an accuracy counts, with its
    samples. Two classes must not share a layer's name.
    """
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    samples: dict[tuple[str, ...], dict[str, str]] = {}
    files_of: dict[tuple[str, ...], int] = {}
    read = [_read(path, COLUMNS) for path in paths]
    for number, found in enumerate(read):
        for row in found:
            key = tuple(row[name] for name in OF_SAMPLES[1:5])
            if key not in rows or (row["accuracy"] and not rows[key]["accuracy"]):
                rows[key], files_of[key] = row, number
    for number, beside in enumerate(map(samples_file, paths)):
        for row in _read(beside, OF_SAMPLES) if beside.is_file() else []:
            key = tuple(row[name] for name in OF_SAMPLES[1:6])
            if files_of.get(key[:4], number) == number:
                samples.setdefault(key, row)
    if len(protocols := dict.fromkeys(row["protocol"] for found in read for row in found)) > 1:
        raise UserError(
            f"rows of different protocols never share a table, got {', '.join(protocols)}; name the files of one"
        )
    if not rows:
        raise UserError("the files have no rows; run `python tools/compare.py` first")
    _check_classes(row for found in read for row in found)
    return list(rows.values()), list(samples.values())


def _check_classes(found: Iterable[dict[str, str]]) -> None:
    """Raise `UserError` if two layers share a name."""
    classes: dict[str, str] = {}
    for row in found:
        name, path = row["recurrence"], row["class_path"]
        if classes.setdefault(name, path) != path:
            raise UserError(f"{name} must be one class, got {classes[name]} and {path}; rename one of them in its rows")


def _read(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file, restkey="(no name)", restval="")
            names = reader.fieldnames or ()
            missing, found = [name for name in columns if name not in names], list(reader)
            if not missing:
                if unknown := {name for row in found for name in row} - {*columns}:
                    raise UserError(f"{path} must have the columns of a row alone, got {min(unknown)}; remove it")
                return found
    except UnicodeDecodeError:
        missing = list(columns)
    more = f" and {len(missing) - 3} others" if len(missing) > 3 else ""
    raise UserError(
        f"{path} has no column {', '.join(missing[:3])}{more}; name a file that tools/compare.py has written"
    )
