"""The trials of a layer: each suite with each learning rate and seed, at each budget of state."""

import copy
import json
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

from sweeps import files
from sweeps.grid import SEEDS, Grid, Trial, trials
from sweeps.trial import is_final

from comparisons.layers import Layer
from comparisons.protocol import EXPERIMENT, Protocol
from comparisons.settings import Setting, find_setting, stages
from lit_retrieval import runs
from lit_retrieval.errors import UserError, one_line

_RIGHT_ANSWERS = {"class_path": "lit_retrieval.training.RightAnswers"}


class Point(NamedTuple):
    """A layer with a budget of state.

    Args:
        state_bits: The budget: the shape's for the table, a smaller one for the frontier.
        setting: The model that meets the budget.
        suites: The suites to run with this budget.
    """

    state_bits: int
    setting: Setting
    suites: list[str]


def find_points(layer: Layer, protocol: Protocol, folder: Path) -> list[Point]:
    """The points of a layer, found once and stored in `folder`; raises `UserError` if it can't meet the budgets.

    A smaller budget has a point only if it needs another setting. A layer with attention behind it has one point.
    """
    path = folder / "points.json"
    asked = identity(layer, protocol)
    if (kept := files.read(path)) is not None and kept["asked"] == asked:
        return [Point(bits, Setting(*setting), suites) for bits, setting, suites in kept["points"]]
    main = find_setting(layer, protocol.shape, protocol.shape.state_bits)
    points = [Point(protocol.shape.state_bits, main, list(protocol.suites))]
    for bits in () if layer.with_attention else protocol.frontier.state_bits:
        smaller = find_setting(layer, protocol.shape, bits)
        if smaller.met and smaller.state_bits not in [one.setting.state_bits for one in points]:
            points.append(Point(bits, smaller, protocol.frontier.suites))
    files.write({"asked": asked, "points": points}, path)
    return points


def identity(layer: Layer, protocol: Protocol) -> dict[str, Any]:
    """All that the points and the speed of a layer depend on."""
    parts = [layer.class_path, layer.init_args, layer.states, layer.with_attention, layer.code()]
    return {"layer": json.loads(json.dumps(parts)), "of": protocol.sha256}


def grid(
    layer: Layer, point: Point, protocol: Protocol, rates: Sequence[float] | None = None,
    seeds: Sequence[int] | None = None, suites: Sequence[str] | None = None,
) -> Grid:  # fmt: skip
    """The grid of a point; by default with the rates and seeds of the protocol and the suites of the point."""
    hours, minutes = divmod(round(protocol.minutes * 60) // 60, 60)
    seconds = round(protocol.minutes * 60) % 60
    fixed: dict[str, Any] = {
        **protocol.fixed,
        "model.hidden_size": protocol.shape.hidden_size,
        "trainer.max_time": f"{hours // 24:02}:{hours % 24:02}:{minutes:02}:{seconds:02}",
        "trainer.callbacks+": [_RIGHT_ANSWERS, *protocol.fixed.get("trainer.callbacks+", [])],
    }
    return Grid(
        experiment=EXPERIMENT,
        points={layer.name: {"model.stages": stages(layer, point.setting, protocol.shape)}},
        tasks={name: {"keys": protocol.suites[name]} for name in suites or point.suites},
        grid={"model.learning_rate": list(rates or protocol.learning_rates)},
        fixed=fixed,
        tested={"data.seed": 0},
        seeds=list(seeds or protocol.seeds),
        gpus=protocol.gpus,
        retries=1,
        warm=True,
    )


def trials_of(layer: Layer, points: Sequence[Point], protocol: Protocol) -> list[list[Trial]]:
    """The trials of each point, as `grid` defines them.

    Only one trial of each suite is parsed, because the others differ in three keys. If the layer is a user's own, a
    hash of its code is part of a trial's hash, so changed code is trained again.
    """
    rates, seeds, code = protocol.learning_rates, protocol.seeds, layer.code()
    return [
        [
            of_code(_vary(first, {"model.learning_rate": rate, **dict.fromkeys(SEEDS, seed)}), code)
            for first in trials(grid(layer, point, protocol, rates[:1], seeds[:1]), protocol.folder)
            for rate in rates
            for seed in seeds
        ]
        for point in points
    ]


def _vary(trial: Trial, changes: dict[str, Any]) -> Trial:
    """The trial with other values of some of its keys."""
    arguments, configuration = list(trial.arguments), copy.deepcopy(trial.configuration)
    for key, value in changes.items():
        arguments[arguments.index(f"--{key}") + 1] = str(value)
        *parts, name = key.split(".")
        reduce(lambda inside, part: inside[part], parts, configuration)[name] = value
    return trial._replace(
        hash=runs.run_hash(configuration), seed=changes[SEEDS[0]], arguments=arguments, configuration=configuration
    )


def of_code(trial: Trial, code: str) -> Trial:
    """The trial with the hash of a user's code."""
    return trial._replace(hash=f"{trial.hash}-{code}") if code else trial


def failure(trial: Trial, folder: Path) -> str | None:
    """Why a trial has failed; None if it has not."""
    notes = files.read(files.trial_folder(folder, trial.hash) / "trial.json") or {}
    return notes.get("reason") if notes.get("status") == "failed" else None


def is_over(trial: Trial, folder: Path, again: bool = False) -> bool:
    """Whether a trial has finished, or has failed in a way that would recur; with `again` failures are not over."""
    is_finished = (files.trial_folder(folder, trial.hash) / "result.json").exists()
    return is_finished or (not again and is_final(failure(trial, folder) or ""))


def refusal(error: UserError) -> str:
    """A reason as one line of a row."""
    return one_line(error)
