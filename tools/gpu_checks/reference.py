"""The first loss and gradient of every ready model on a CPU, as a reference for other devices."""

import json
import math
from pathlib import Path
from typing import NamedTuple

import torch

from gpu_checks.ready import NAMES, Problem

SIZE, COUNT = 8, 8  # vertices, samples
_SMALL = 1e-3  # differences of gradients below this share of the whole gradient are relative to the whole


class Marks(NamedTuple):
    """The loss and two numbers of each gradient in a first step.

    Args:
        loss: In nats per token.
        gradients: For each parameter the norm of its gradient, and its dot product with numbers that rise from -1 to 1.
    """

    loss: float
    gradients: dict[str, tuple[float, float]]


class Difference(NamedTuple):
    """The relative difference of a first step from another one, and the parameter with the largest difference."""

    loss: float
    gradient: float
    parameter: str


def first_step(name: str, device: str) -> Marks:
    """Compute the loss and the gradients of a fresh model on one small batch."""
    problem = Problem(name, device, SIZE, "retrieval", COUNT)
    marks = {}
    for key, gradient in problem.gradients().items():
        flat = gradient.double().cpu().flatten()
        rising = torch.linspace(-1, 1, len(flat), dtype=torch.float64)
        marks[key] = float(flat.norm()), float(flat @ rising)
    with torch.no_grad():
        return Marks(float(problem.loss()), marks)


def write(path: Path) -> None:
    """Write the reference file, with seven digits of each number; null for a model whose loss is not finite."""
    found = {name: first_step(name, "cpu") for name in NAMES}
    lines = [f"{json.dumps(name)}: {json.dumps(_short(marks))}" for name, marks in found.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def read(path: Path, name: str) -> Marks | None:
    """Read one model from the reference file; None if its loss is not finite on a CPU."""
    content = json.loads(path.read_text())[name]
    return content and Marks(content["loss"], {key: tuple(pair) for key, pair in content["gradients"].items()})


def compare(found: Marks, wanted: Marks) -> Difference:
    """Compare two first steps of the same model."""
    assert found.gradients.keys() == wanted.gradients.keys(), "the models have other parameters"
    whole = sum(norm**2 for norm, _ in wanted.gradients.values()) ** 0.5
    off = {
        key: max(abs(one - other) for one, other in zip(found.gradients[key], pair, strict=True))
        / max(pair[0], _SMALL * whole)
        for key, pair in wanted.gradients.items()
    }
    worst = max(off, key=lambda key: off[key])
    return Difference(abs(found.loss / wanted.loss - 1), off[worst], worst)


def _short(marks: Marks) -> dict[str, object] | None:
    if not math.isfinite(marks.loss):
        return None
    gradients = {key: [float(f"{one:.7g}") for one in pair] for key, pair in marks.gradients.items()}
    return {"loss": float(f"{marks.loss:.7g}"), "gradients": gradients}
