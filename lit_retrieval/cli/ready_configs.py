"""Finds the package's configurations by name."""

import difflib
from collections.abc import Sequence
from pathlib import Path

import yaml

from lit_retrieval.parsing import fail

_PACKAGE = Path(__file__).parents[1]
_FOLDERS = {"config": ("experiments", "constructions"), "data": ("data",), "model": ("model",), "trainer": ("trainer",)}


def folder() -> Path:
    """The folder `configs`: in the package if it was installed from a wheel, else in the checkout."""
    inside = _PACKAGE / "configs"
    return inside if inside.is_dir() else _PACKAGE.parent / "configs"


def find_configs(arguments: Sequence[str]) -> list[str]:
    """The command line with the names in --config, --data, --model and --trainer replaced by paths.

    An unknown name ends the process with one line and status 2.
    """
    found, part = [], None
    for word in arguments:
        option, equals, value = word.partition("=")
        if part is not None:
            word, part = _find(word, part), None
        elif equals and (known := _part(option)):
            word = f"{option}={_find(value, known)}"
        else:
            part = _part(word)
        found.append(word)
    return found


def find_config(name: str, part: str) -> Path | None:
    """The file of a configuration, or None; the current folder is searched first.

    Args:
        name: `quickstart`, `experiments/quickstart`, `configs/experiments/quickstart.yaml` or any path.
        part: The option, without `--`: config, data, model or trainer.
    """
    within = [folder(), *(folder() / kind for kind in _FOLDERS[part])]
    candidates = [Path(name), *(one / name.removeprefix("configs/") for one in within)]
    return next((path for one in candidates for path in (one, Path(f"{one}.yaml")) if path.is_file()), None)


def _part(option: str) -> str | None:
    name = "config" if option == "-c" else option.removeprefix("--") if option.startswith("--") else ""
    return name if name in _FOLDERS else None


def _find(value: str, part: str) -> str:
    if not _is_name(value):
        return value
    if (path := find_config(value, part)) is None:
        if part == "config" and (inside := Path(value) / "config.yaml").is_file():
            fail(f"{value} is the folder of a run; write --config {inside}")
        names = [path.stem for kind in _FOLDERS[part] for path in (folder() / kind).glob("*.yaml")]
        nearest = difflib.get_close_matches(Path(value).stem, names, 1)
        meant = f", or a name such as {nearest[0]}" if nearest else ""
        fail(f"there is no file {value}; write the path of a YAML in --{part}{meant}")
    return str(path)


def _is_name(value: str) -> bool:
    """Whether an option's value is a name or path, rather than null or keys, as in `--model '{hidden_size: 8}'`."""
    try:
        return not value.startswith("-") and isinstance(yaml.safe_load(value), str)
    except yaml.YAMLError:
        return False
