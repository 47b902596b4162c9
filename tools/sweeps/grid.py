"""A grid in YAML, and its trials."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from itertools import islice, pairwise, product
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lit_retrieval import runs
from lit_retrieval.cli import read_configuration
from lit_retrieval.errors import UserError
from lit_retrieval.parsing import read_yaml
from lit_retrieval.ranges import check_at_least
from lit_retrieval.tasks.task import REGIMES
from sweeps.shares import Shares, check_shares, find_shares

_FILES = ("data", "model", "trainer")  # keys whose value may be a file, relative to the grid's
SEEDS = ("seed_everything", "data.seed")
_SET_HERE = {
    **dict.fromkeys(SEEDS, "write seeds"), "trainer.devices": "write gpus", "run_dir": "leave it out",
    "trainer.enable_progress_bar": "leave it out",
}  # fmt: skip
_WRITE = {
    str: "text", dict: "keys with values", list: "a list", int: "a whole number",
    (int, float, dict): "a number, or numbers by words", bool: "true or false", (int, float): "a number",
}  # fmt: skip
_NAMED = ("points", "tasks", "regimes", "tests")  # whose keys are names, which may look like numbers
_KINDS: dict[str, Any] = {
    "experiment": str, "points": dict, "tasks": dict, "grid": dict, "regimes": dict, "fixed": dict, "slurm": dict,
    "tested": dict, "tests": dict, "warm": bool,
    "seeds": list, "checkpoint": str, "cpus": int, "retries": int, "stop_on_plateau": int, "gpus": (int, float, dict),
}  # fmt: skip


@dataclass
class Grid:
    """A set of trials: every point with every level of every task, every combination of values and every seed.

    Keys are those of the command line: `data.regime`, `model.learning_rate`, or `model` with a file of all its keys.
    If several of fixed, points, tasks, grid and regimes (in this order) set a key, the last one counts. The values of a
    key such as `trainer.callbacks+` are joined.

    Args:
        experiment: Configuration that all trials vary; paths are relative to the grid's file.
        points: Names, each with its keys and values; report.py reads names such as `mamba_0.5M`.
        tasks: Names, each with `keys` and their values, and `changes`, a list of the changed keys and values of each
            further level of difficulty. report.py averages the best trial of each level.
        grid: Keys, each with a list of values.
        regimes: Regimes, each with keys and values for its trials.
        fixed: Keys, each with a value for all trials.
        tested: Keys, each with a value only for `test`, such as the data.seed of a frozen test set.
        tests: Names, each with the keys and values of a test of the trained model, such as another retriever. Each test
            has a row in results.csv.
        seeds: Random seeds of the model and its samples.
        checkpoint: The checkpoint to test: best, by closed-loop accuracy of validation, or last, as in the paper.
        cpus: Processor cores per trial, set as OMP_NUM_THREADS and NUMBA_NUM_THREADS of its commands.
        gpus: Share of a GPU per trial, if there is one. Or shares by words of a trial's point, regime and sizes, such
            as `{any: 0.25, retrieval 128: 0.5}`; the last row that matches counts. With `--on here` the slots share the
            GPUs; with SLURM each trial gets whole ones.
        retries: Number of restarts of a crashed trial, which resumes from its newest checkpoint.
        stop_on_plateau: Number of validations without a rise of closed-loop accuracy after which training stops; never
            if absent.
        slurm: Parameters that `submitit` passes to SLURM: slurm_partition, timeout_min, ...
        warm: Whether to fork trials from a process that has imported everything, which saves ten seconds per command.
    """

    experiment: str
    points: dict[str, dict[str, Any]] = field(default_factory=lambda: {"": {}})
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    regimes: dict[str, dict[str, Any]] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)
    tested: dict[str, Any] = field(default_factory=dict)
    tests: dict[str, dict[str, Any]] = field(default_factory=lambda: {"": {}})
    seeds: list[int] = field(default_factory=lambda: [0])
    checkpoint: Literal["best", "last"] = "best"
    cpus: int = 1
    gpus: Shares = 1.0
    retries: int = 2
    stop_on_plateau: int | None = None
    slurm: dict[str, Any] = field(default_factory=dict)
    warm: bool = False


def check_kinds(given: dict[str, Any], kinds: dict[str, Any], path: Path, part: str = "") -> None:
    """Raise `UserError` for the first key of a file, or of a `part` of it, whose value has a wrong type."""
    for name, value in given.items():
        kind = kinds.get(name, object)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind not in (bool, object)):
            raise UserError(f"{part}{name} must be {_WRITE[kind]}, got {value}; set it in {path}")


def check_each(name: str, values: Any, kind: Any, least: float, path: Path) -> None:
    """Raise `UserError` unless all elements of a list have a given type, and numbers among them are `least` or more."""
    if not isinstance(values, list):
        raise UserError(f"{name} must be a list, got {values}; set it in {path}")
    for value in values:
        check_kinds({name: value}, {name: kind}, path, "each of ")
        if kind is not str:
            check_at_least(f"each of {name}", value, least, f"it in {path}")


class Trial(NamedTuple):
    """One run of the grid.

    Args:
        hash: Hash of the configuration; equal for equal trials.
        point: Name of the point.
        seed: Random seed.
        arguments: Arguments of `fit` and `test`; paths are relative to `place`.
        configuration: All keys with their values.
        place: Folder to run the commands in.
        checkpoint: The checkpoint to test, best or last.
        gpus: Share of a GPU.
        level: Task and changed keys, such as `copying vocab_size=32`; empty without tasks.
        tests: Name and further arguments of each test.
        is_warm: Whether to fork the commands from a process that has imported everything.
    """

    hash: str
    point: str
    seed: int
    arguments: list[str]
    configuration: dict[str, Any]
    place: str
    checkpoint: str = "best"
    gpus: float = 1.0
    level: str = ""
    tests: tuple[tuple[str, tuple[str, ...]], ...] = (("", ()),)
    is_warm: bool = False

    @property
    def words(self) -> list[str]:
        """Words that describe the trial: its point, level, regime and sizes."""
        data = self.configuration["data"]
        return [
            *self.point.split(),
            *self.level.split(),
            data["regime"],
            *re.findall(r"[^][,{} ]+", str(data["sizes"])),
        ]


def read_grid(path: Path) -> Grid:
    """Read a grid; raises `UserError` if the file is not a valid one."""
    content = _read_content(path)
    if (checkpoint := content.get("checkpoint", "best")) not in ("best", "last"):
        raise UserError(f"checkpoint must be best or last, got {checkpoint}; set it in {path}")
    names = {part: {str(name): keys for name, keys in content[part].items()} for part in _NAMED if part in content}
    grid = Grid(**{**content, **names})
    if unknown := [name for name in grid.regimes if name not in REGIMES]:
        raise UserError(f"regimes must be among {', '.join(REGIMES)}, got {unknown[0]}; set it in {path}")
    if wrong := [key for key, values in grid.grid.items() if not isinstance(values, list)]:
        raise UserError(f"grid.{wrong[0]} must be a list, got one value; write a list in {path}, or move it to fixed")
    if wrong := [
        f"{part}.{name}"
        for part in ("points", "regimes", "tests")
        for name, keys in getattr(grid, part).items()
        if not isinstance(keys, dict)
    ]:
        raise UserError(f"{wrong[0]} must have keys with values; write {{key: value}} in {path}, or {{}} for none")
    for name, task in grid.tasks.items():
        if not _is_task(task):
            raise UserError(
                f"tasks.{name} must be {{keys: {{key: value}}, changes: [{{key: value}}]}}; set it in {path}"
            )
    for key in _keys(grid):
        if instead := _SET_HERE.get(key):
            raise UserError(f"the sweep sets {key}; {instead} in {path}")
    check_shares(grid.gpus, path)
    for name, least in (("cpus", 1), ("retries", 0), ("stop_on_plateau", 1)):
        if (number := getattr(grid, name)) is not None:
            check_at_least(name, number, least, f"it in {path}")
    check_each("seeds", grid.seeds, int, 0, path)
    return grid


def _read_content(path: Path) -> dict[str, Any]:
    """The keys of a grid's file; raises `UserError` for unknown keys and wrong types."""
    try:
        content = read_yaml(path)
    except OSError:
        raise UserError(f"there is no grid {path}; name a file such as those in configs/sweeps") from None
    if isinstance(content, dict) and "experiment" not in content and {"data", "model", "trainer"} & set(content):
        raise UserError(
            f"{path} is an experiment, not a grid; run it with `python -m lit_retrieval fit --config {path}`"
        )
    if not isinstance(content, dict) or "experiment" not in content:
        raise UserError(f"{path} must name an experiment; write `experiment: ../experiments/NAME.yaml`")
    known = [one.name for one in fields(Grid)]
    for name, value in content.items():
        if name not in known:
            raise UserError(f"the keys of a grid must be among {', '.join(known)}; got {name} in {path}")
        check_kinds({name: value}, _KINDS, path)
    return content


def _is_task(task: Any) -> bool:
    """Whether a task of a grid is valid: it has keys and, optionally, a list of changes."""
    parts = task if isinstance(task, dict) else {}
    keys, changes = parts.get("keys"), parts.get("changes", [])
    are_keys = isinstance(changes, list) and all(isinstance(one, dict) and one for one in changes)
    return isinstance(keys, dict) and are_keys and not parts.keys() - {"keys", "changes"}


def _keys(grid: Grid) -> Iterator[str]:
    """The keys of training that a grid sets."""
    changes = [change for task in grid.tasks.values() for change in (task["keys"], *task.get("changes", []))]
    for part in (grid.fixed, grid.grid, *grid.points.values(), *grid.regimes.values(), *changes):
        yield from part


def trials(grid: Grid, folder: Path) -> list[Trial]:
    """All different trials of a grid whose file is in `folder`, in the grid's order.

    An unknown key ends the process with one line and status 2.
    """
    if not (grid.points and grid.seeds and all(grid.grid.values())):
        raise UserError("a grid must have a trial; give every key of `grid`, `points` and `seeds` at least one value")
    if not grid.tests:
        raise UserError("tests must have one test or more, got {}; leave it out for one with the keys of training")
    found: dict[str, Trial] = {}
    tests = tuple((name, _as_arguments(_joined(grid.tested, keys))) for name, keys in grid.tests.items())
    for point, level, seed, keys in _combinations(grid, folder):
        arguments = _arguments(grid, keys, folder)
        configuration = read_configuration(["fit", *arguments])
        if code := configuration["code_sha256"]:  # so that trials of other code are refused
            arguments += ["--code_sha256", json.dumps(code)]
        identity = runs.run_hash(configuration)
        trial = Trial(
            identity, point, seed, arguments, configuration, str(Path.cwd()), grid.checkpoint, level=level,
            tests=tests, is_warm=grid.warm,
        )  # fmt: skip
        _check_same(found.setdefault(identity, trial), trial)
    unique = list(found.values())
    for words in filter(None, (words for _, words in tests)):  # find mistakes in them before any training
        read_configuration(["test", *unique[0].arguments, *words])
    shares = find_shares(grid.gpus, [trial.words for trial in unique])
    return [trial._replace(gpus=share) for trial, share in zip(unique, shares, strict=True)]


def _check_same(same: Trial, trial: Trial) -> None:
    """Raise `UserError` for two trials with one hash but different arguments or names; one would be left out."""
    if same.arguments != trial.arguments:
        before = set(pairwise(same.arguments))
        given = (pair for pair in pairwise(trial.arguments) if pair[0].startswith("--") and pair not in before)
        key, value = next(given, ("fewer", "keys"))
        raise UserError(
            f"a trial with {key} {value} would train as another does; leave it out, or write the key in tests if it is "
            "one of a test"
        )
    name, other = (" ".join(f"{one.point} {one.level}".split()) for one in (same, trial))
    if name != other:
        raise UserError(f"points and levels must differ in their keys, got {name} and {other} with equal ones; leave "
                        "one of them out")  # fmt: skip


def levels(grid: Grid) -> list[tuple[str, dict[str, Any]]]:
    """The names and keys of the levels of all tasks; without tasks, one level without a name or keys.

    A level is named by the first key of its change or, if another level of its task has the same, by all keys. Raises
    `UserError` if two levels have the same name.
    """
    found: list[tuple[str, dict[str, Any]]] = [] if grid.tasks else [("", {})]
    for name, task in grid.tasks.items():
        changes = task.get("changes", [])
        firsts = [_changed(change, 1) for change in changes]
        found.append((name, task["keys"]))
        for change, first in zip(changes, firsts, strict=True):
            told = first if firsts.count(first) == 1 else _changed(change, len(change))
            found.append((f"{name} {told}", {**task["keys"], **change}))
    names = [name for name, _ in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"the changes of a task must have different names, got {twice[0]} twice; leave one of them out")
    return found


def _changed(change: dict[str, Any], count: int) -> str:
    """The name of a level: the first keys of its change with their values."""
    pairs = islice(change.items(), count)
    return " ".join(f"{key.rpartition('.')[2]}={_text(value).strip('[]')}" for key, value in pairs)


def _combinations(grid: Grid, folder: Path) -> Iterator[tuple[str, str, int, dict[str, Any]]]:
    plateau = [
        {"class_path": "lit_retrieval.training.PlateauStopping", "init_args": {"patience": grid.stop_on_plateau}}
    ]
    stopping = {} if grid.stop_on_plateau is None else {"trainer.callbacks+": plateau}  # after the experiment's
    parts = product(grid.points.items(), levels(grid), product(*grid.grid.values()), grid.seeds)
    for (point, own), (level, of_level), values, seed in parts:
        chosen = _joined(grid.fixed, own, of_level, dict(zip(grid.grid, values, strict=True)))
        of_regime = grid.regimes.get(_regime(grid, chosen, folder), {}) if grid.regimes else {}
        yield point, level, seed, _joined(chosen, of_regime, dict.fromkeys(SEEDS, seed), stopping)


def _regime(grid: Grid, keys: dict[str, Any], folder: Path) -> str:
    """The regime of a trial with these keys; a value of a wrong type becomes text, which the command refuses."""
    found = keys.get("data.regime")
    return str(found or read_configuration(["fit", *_arguments(grid, keys, folder)])["data"]["regime"])


def _arguments(grid: Grid, keys: dict[str, Any], folder: Path) -> list[str]:
    """The experiment and the keys as options; a file of a whole part comes first, so that it does not undo its keys."""
    found = ["--config", _beside(folder, grid.experiment)]
    for key, value in sorted(keys.items(), key=lambda item: item[0] not in _FILES):
        found += [f"--{key}", _beside(folder, value) if key in _FILES else _text(value)]
    return found


def _joined(*parts: dict[str, Any]) -> dict[str, Any]:
    """Join the keys of all parts: the last of several values counts, but the values of `KEY+` are concatenated."""
    keys: dict[str, Any] = {}
    for key, value in (item for part in parts for item in part.items()):
        before = keys.get(key)
        keys[key] = [*_listed(before), *_listed(value)] if before is not None and key.endswith("+") else value
    return keys


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _beside(folder: Path, file: Any) -> str:
    path = os.path.relpath(folder / str(file))
    if not Path(path).is_file():
        raise UserError(f"the grid names {file}, but there is no file {path}; paths are relative to the grid's file")
    return path


def _as_arguments(keys: dict[str, Any]) -> tuple[str, ...]:
    return tuple(word for key, value in keys.items() for word in (f"--{key}", _text(value)))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
