"""Reads YAML and refuses a key that is listed twice."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from yaml import MappingNode, SafeLoader

from lit_retrieval.errors import UserError, one_line


class _OnceLoader(SafeLoader):  # type: ignore[misc]
    """PyYAML's loader, but a key that is listed twice is an error (PyYAML drops the first)."""

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if (name := (key.tag, str(key.value))) in seen:
                raise UserError(
                    f"line {key.start_mark.line + 1}: the key {key.value} is listed twice; keep one of them"
                )
            seen.add(name)
        content: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return content


def parse_yaml(text: str) -> Any:
    """The content of a YAML text; `UserError` names the line of a key that is listed twice."""
    return yaml.load(text, _OnceLoader)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; raises `UserError` if it is not YAML or lists a key twice."""
    try:
        return parse_yaml(path.read_text())
    except UserError as error:
        raise UserError(f"{path}, {error}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} must be a YAML file, got bytes that are not text") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} must be a YAML file: {one_line(error)}") from None
