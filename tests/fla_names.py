"""Prints the functions of a version of fla, a module a line: `python tests/fla_names.py FOLDER`, that of `fla/`.

tests/data/fla_names has what it printed for two versions, with which the table of our functions is tested. Nothing is
imported: the names are read from the sources.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOMS = ("layers", "modules", "ops")


def names_in(path: Path) -> Iterator[str]:
    """Public functions that a module defines, the methods of its classes, and what a package takes from within."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            methods = (one.name for one in node.body if isinstance(one, ast.FunctionDef))
            yield from (f"{node.name}.{name}" for name in methods if "__" not in name)
        elif isinstance(node, ast.FunctionDef) and "kernel" not in node.name and node.name[0] != "_":
            yield node.name
        elif isinstance(node, ast.ImportFrom) and path.name == "__init__.py":
            yield from (alias.name for alias in node.names if alias.name.islower())


def main() -> None:
    folder = Path(sys.argv[1])
    for path in sorted(path for room in ROOMS for path in (folder / room).rglob("*.py")):
        module = ".".join(["fla", *path.relative_to(folder).with_suffix("").parts]).removesuffix(".__init__")
        names = sorted(set(names_in(path)))
        if names and "backends" not in module and "triton_ascend" not in module:
            print(module, *names)


if __name__ == "__main__":
    main()
