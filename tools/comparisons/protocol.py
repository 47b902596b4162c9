"""The protocol of a comparison: suites, model shape, budgets, learning rates and seeds, with a version and a hash."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sweeps.grid import check_each, check_kinds
from sweeps.intervals import wilson
from sweeps.shares import check_shares

from lit_retrieval.data import TranscriptData
from lit_retrieval.errors import UserError
from lit_retrieval.parsing import OneLineErrors, read_yaml
from lit_retrieval.ranges import check_at_least
from lit_retrieval.training.memory import ceiling

FOLDER = Path(__file__).parents[2] / "configs/compare"
_SET_HERE = ("model.hidden_size", "model.stages", "model.learning_rate", "trainer.max_time")
_KINDS: dict[str, Any] = {
    "version": (int, float), "shape": dict, "suites": dict, "learning_rates": list, "seeds": list, "reference": str,
    "minutes": (int, float), "gpus": (int, float), "fixed": dict, "frontier": dict,
}  # fmt: skip
TOLERANCE = 0.05  # of the parameters, and of states that count as equal
EXPERIMENT = str(FOLDER.parent / "experiments/quickstart.yaml")  # whose data, model and trainer a protocol changes


@dataclass(frozen=True)
class Shape:
    """The shape that all models share.

    Args:
        hidden_size: Elements of each token's vector.
        conv_kernel: Number of tokens that the Canon layer before each compared layer sees.
        repeat: Number of blocks, each a Canon layer, the compared layer and a SwiGLU.
        parameters: Budget of parameters of all blocks, met within 5% by the width of the SwiGLU.
        state_bits: Maximum bits of state of a recurrence.
        length: Number of tokens after which the state is measured against this budget.
    """

    hidden_size: int
    conv_kernel: int
    repeat: int
    parameters: int
    state_bits: int
    length: int


@dataclass(frozen=True)
class Frontier:
    """Accuracy against bits of state.

    Args:
        state_bits: Further budgets of state, below the shape's.
        suites: The suites to run with each of these budgets.
        repairs: For each suite, the retrieval suite that answers the same question with a search.
    """

    state_bits: list[int] = field(default_factory=list)
    suites: list[str] = field(default_factory=list)
    repairs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Protocol:
    """A protocol; see the files in configs/compare.

    Args:
        name: Name of the file.
        version: Version number; any change of the protocol needs a new one.
        shape: The shape that all models share.
        suites: Suites by name, each with the keys of its trainings: `data`, the file of a frozen test set, relative to
            the protocol's file, and others, such as trainer.max_steps.
        learning_rates: Peak learning rates, of which validation chooses one for each layer and suite.
        seeds: Random seeds of the initial weights and the training samples; test samples are the suite's.
        fixed: Further keys of all trainings.
        frontier: Accuracy against bits of state.
        minutes: Time limit of a training, in minutes; one that takes longer is `too slow`.
        gpus: Share of a GPU per training, if there is one.
        reference: Name of the recurrence that others are compared with in speed.
        sha256: Hash of all of the above and of the suites' files.
        folder: Folder of its file.
    """

    name: str
    version: int
    shape: Shape
    suites: dict[str, dict[str, Any]]
    learning_rates: list[float]
    seeds: list[int]
    fixed: dict[str, Any]
    frontier: Frontier
    minutes: float
    gpus: float
    reference: str
    sha256: str
    folder: Path

    @property
    def identity(self) -> str:
        """Name, version and prefix of the hash; rows with different identities never share a table."""
        return f"{self.name}-{self.version}-{self.sha256[:8]}"

    def suite(self, name: str) -> "Suite":
        """A suite, with its test set."""
        keys = {key: value for key, value in self.suites[name].items() if key.startswith("data.")}
        return Suite(name, self.folder / str(self.suites[name]["data"]), keys)


def find_protocol(name: str) -> Path:
    """The file of a protocol: a path, or a name in configs/compare; raises `UserError` if there is none."""
    for path in (Path(name), FOLDER / f"{name}.yaml"):
        if path.is_file():
            return path
    raise UserError(f"there is no protocol {name}; write laptop, lab, full or a file such as those in configs/compare")


def read_protocol(path: Path) -> Protocol:
    """Read a protocol; raises `UserError` if the file is not a valid one."""
    content = read_yaml(path)
    known = {one.name for one in fields(Protocol)} - {"name", "sha256", "folder"}
    optional = {"frontier": {}, "fixed": {}, "gpus": 0.1, "reference": "attention"}
    given = content.keys() if isinstance(content, dict) else set()
    if given - known or known - given - optional.keys():
        raise UserError(f"a protocol must have the keys {', '.join(sorted(known))}; set them in {path}")
    content = {**optional, **content}
    check_kinds(content, _KINDS, path)
    try:
        shape, frontier = Shape(**content.pop("shape")), Frontier(**content.pop("frontier"))
    except TypeError as error:
        raise UserError(f"the parts of {path} must have the keys in tools/comparisons/protocol.py: {error}") from None
    _check_parts(shape, frontier, path)
    for name in ("version", "minutes"):
        check_at_least(name, content[name], 1e-9, f"it in {path}")
    check_shares(content["gpus"], path)
    for part in ("suites", "fixed"):
        if keys := [key for key in content[part] if not isinstance(key, str)]:
            raise UserError(f"the names in {part} must be text, got {keys[0]}; set them in {path}")
    check_kinds(content["fixed"], {"trainer.callbacks+": list}, path, "fixed.")
    if unknown := [one for one in frontier.suites if one not in content["suites"]]:
        raise UserError(f"frontier.suites must be names of suites, got {unknown[0]}; set them in {path}")
    if unknown := [one for pair in frontier.repairs.items() for one in pair if one not in content["suites"]]:
        raise UserError(f"frontier.repairs must be names of suites, got {unknown[0]}; set them in {path}")
    if own := [key for key in _SET_HERE if key in content["fixed"]]:
        raise UserError(f"a comparison sets {own[0]}; leave it out of fixed in {path}")
    if not (content["suites"] and content["learning_rates"] and content["seeds"]):
        raise UserError(f"suites, learning_rates and seeds must each have a value; set them in {path}")
    if texts := [one for one in content["learning_rates"] if isinstance(one, str)]:
        raise UserError(f"learning_rates must be numbers such as 1.0e-3, got the text {texts[0]}; set them in {path}")
    check_each("learning_rates", content["learning_rates"], (int, float), 0, path)
    check_each("seeds", content["seeds"], int, 0, path)
    return Protocol(
        name=path.stem, shape=shape, frontier=frontier, sha256=_hash(path, content["suites"]), folder=path.parent,
        **content,
    )  # fmt: skip


def _check_parts(shape: Shape, frontier: Frontier, path: Path) -> None:
    """Raise `UserError` if a value in the parts of a protocol has a wrong type."""
    check_kinds(vars(shape), dict.fromkeys(vars(shape), int), path, "shape.")
    for name, number in vars(shape).items():
        check_at_least(f"shape.{name}", number, 1, f"it in {path}")
    check_each("frontier.state_bits", frontier.state_bits, int, 1, path)
    check_each("frontier.suites", frontier.suites, str, 0, path)
    check_kinds({"repairs": frontier.repairs}, {"repairs": dict}, path, "frontier.")
    check_each("frontier.repairs", list(frontier.repairs.values()), str, 0, path)


def _hash(path: Path, suites: dict[str, Any]) -> str:
    """The sha256 of the content of the file and of its suites' files, without comments and layout."""
    parts = [read_yaml(path)]
    for suite, keys in sorted(suites.items()):
        file = keys.get("data") if isinstance(keys, dict) and all(isinstance(key, str) for key in keys) else None
        if not isinstance(file, str) or not (path.parent / file).is_file():
            raise UserError(f"suites.{suite}.data must be the file of a frozen test set, got {file}; set it in {path}")
        parts.append(read_yaml(path.parent / file))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Suite:
    """A frozen test set of a protocol.

    Args:
        name: Its name in the protocol.
        file: Its data configuration.
        keys: Keys that differ from those of the file, such as data.regime.
    """

    def __init__(self, name: str, file: Path, keys: dict[str, Any]) -> None:
        parser = OneLineErrors()
        parser.add_class_arguments(TranscriptData, "data")
        changes = [word for key, value in keys.items() for word in (f"--{key}", str(value))]
        data = parser.instantiate(parser.parse_args(["--data", str(file), *changes])).data
        if data.suite is None:
            raise UserError(f"{file} must be a frozen test set; write its hash with `python tools/freeze.py {file}`")
        self.name = name
        self.regime: str = data.regime
        self.task: str = type(data.task).__name__
        self.sizes: list[int] = data.eval_values
        self.chance: float = data.task.chance
        self.sha256: str = data.suite.sha256[data.regime]
        self._random_bits: Callable[[int], int | None] = data.task.random_bits

    def random_bits(self, size: int) -> int | None:
        """The random bits of a random-access code; None for other tasks, and if the model may search."""
        return None if self.regime == "retrieval" else self._random_bits(size)

    def ceiling(self, size: int, state_bits: int) -> float | None:
        """The highest accuracy that a state allows, H^-1(1 - M/n); None if the task has no ceiling."""
        bits = self.random_bits(size)
        return None if bits is None else ceiling(state_bits, bits)


def is_near(number: int, other: int) -> bool:
    """Whether two numbers of parameters, or of bits, count as equal."""
    return abs(number - other) <= TOLERANCE * other


def interval(share: float, samples: int) -> tuple[float, float]:
    """The 95% interval over samples of an accuracy; in a mean over seeds, each sample counts once."""
    return wilson(share, samples)
