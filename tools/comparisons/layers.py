"""The compared layers: those of configs/compare/recurrences.yaml, and a user's own by its class."""

import importlib
import json
from dataclasses import dataclass, field
from typing import Any

from yaml import YAMLError

from comparisons.protocol import FOLDER
from lit_retrieval.errors import UserError
from lit_retrieval.parsing import read_yaml
from lit_retrieval.parsing.yaml_file import parse_yaml
from lit_retrieval.runs import code_hash

KNOWN = FOLDER / "recurrences.yaml"


@dataclass(frozen=True)
class Layer:
    """A layer to compare.

    Args:
        name: Its name in the tables.
        class_path: Its class.
        init_args: Fixed arguments, besides those that the command finds.
        states: Arguments that set the size of the state, with the values to try. If absent, those of `settings.KNOBS`
            that the class has and `init_args` does not set.
        with_attention: Whether an attention layer follows the layer in each block.
    """

    name: str
    class_path: str
    init_args: dict[str, Any] = field(default_factory=dict)
    states: dict[str, list[Any]] | None = None
    with_attention: bool = False

    def load(self) -> Any:
        """The class; raises `UserError` if there is none."""
        module, _, name = self.class_path.rpartition(".")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(
                f"{self.class_path} can't be imported: {error}; name a class such as my_package.MyRecurrence, or a "
                f"name in {KNOWN.name}"
            ) from None

    def code(self) -> str:
        """A hash of the code of a user's own class, so that rows of changed code are not taken for this layer's."""
        return code_hash(self.load())[:8]


def read_known() -> dict[str, Layer]:
    """The layers of configs/compare/recurrences.yaml, by name."""
    return {name: Layer(name, **parts) for name, parts in read_yaml(KNOWN).items()}


def find_layers(names: list[str], init_args: str | None) -> list[Layer]:
    """The layers named on a command line: `all`, names in the file, or classes; `init_args` needs a single class."""
    known = read_known()
    if init_args is not None and len(names) != 1:
        raise UserError("--init_args must follow a single class; compare several layers by several commands")
    given: Any = {}
    if init_args is not None:
        try:
            given = parse_yaml(init_args)
        except YAMLError:
            given = None
    if not isinstance(given, dict):
        raise UserError(f"--init_args must be keys with values, got {init_args}; write '{{num_heads: 2}}'")
    found: dict[str, Layer] = {}
    for name in names:
        if name == "all" and given:
            raise UserError("--init_args must follow a single class, not all")
        elif name == "all":
            found |= known
        elif name in known and not given:
            found[name] = known[name]
        elif name in known:
            raise UserError(f"{name} has its init_args in {KNOWN}; write its class, {known[name].class_path}")
        elif "." in name:
            texts = [f"{key}={''.join(json.dumps(value).split())}" for key, value in given.items()]  # no spaces: an id
            label = ",".join([name.rpartition(".")[2], *texts])
            if label in found and found[label].class_path != name:
                raise UserError(f"{found[label].class_path} and {name} would have the same name; rename one of them")
            found[label] = Layer(label, name, given)
        else:
            raise UserError(
                f"{name} must be a class such as my_package.MyRecurrence, all, or one of {', '.join(known)}"
            )
    return list(found.values())
