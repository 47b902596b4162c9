"""Reads the imports of every module of the package: they go one way, from later rooms to earlier ones."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = "lit_retrieval"
ROOT = Path(__file__).resolve().parents[1]

FOR_ALL = ["errors", "files", "ranges", "renamed"]  # any room may import these
DATA_CHAIN = [*FOR_ALL, "vocabulary", "tokens", "retrieval", "conversation", "tasks", "data"]
MODEL_CHAIN = [*FOR_ALL, "ops", "mixers", "models"]
BOTH_CHAINS = {*DATA_CHAIN, *MODEL_CHAIN}
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": {"numba_cache", "api"},
    "numba_cache": set(),
    "kernel_cache": set(),
    **{room: set(DATA_CHAIN[:place]) for place, room in enumerate(DATA_CHAIN)},
    **{room: set(MODEL_CHAIN[:place]) for place, room in enumerate(MODEL_CHAIN)},
    "runs": {*FOR_ALL},
    "lightning_internals": {*FOR_ALL},
    "constructions": {*MODEL_CHAIN, "vocabulary"},
    "decoding": BOTH_CHAINS - {"ops"},
    "training": BOTH_CHAINS | {"constructions", "decoding", "runs"},
    "parsing": {*FOR_ALL},
    "cli": BOTH_CHAINS | {"constructions", "decoding", "runs", "training", "parsing"},
    "__main__": {"cli"},
    "api": BOTH_CHAINS | {"constructions", "decoding", "runs", "training", "parsing", "cli"},
    "torchrun": {*FOR_ALL},
}
for room in ("cli", "tasks"):
    MAY_IMPORT[room] |= {"numba_cache"}
MAY_IMPORT["automata"] = MAY_IMPORT["conformance"] = {*FOR_ALL}
MAY_IMPORT["machines"] = {*FOR_ALL, "parsing"}
MAY_IMPORT["models"].add("conformance")
MAY_IMPORT["pretrained"] = {*MODEL_CHAIN, "conformance"}
MAY_IMPORT["training"] |= {"conformance", "pretrained"}
MAY_IMPORT["cli"].add("pretrained")
MAY_IMPORT["export"] = MAY_IMPORT["api"] | {"api", "pretrained", "tokens"}
MAY_IMPORT["__main__"].add("export")
MAY_IMPORT["circuits"] = {*FOR_ALL, "machines", "vocabulary"}
MAY_IMPORT["tasks"] |= {"machines", "automata", "circuits"}
for room in ("tasks", "mixers"):
    MAY_IMPORT[room] |= {"parsing", "conformance"}  # they have command lines of their own
MAY_IMPORT["constructions"] |= {"machines", "circuits"}
for room in ("data", "training", "cli"):
    MAY_IMPORT[room] |= {"lightning_internals"}
MAY_IMPORT["harness"] = {*MAY_IMPORT["api"], "tokens", "pretrained", "api"}
LATE = {"fla", "triton", "transformers", "peft", "tokenizers", "lm_eval"}
WHEN_ASKED = {"gpu", "adapter"}  # modules that are imported inside the function that needs them
ROOMS_WITHOUT_TORCH = [
    *FOR_ALL,
    "conformance",
    "machines",
    "automata",
    "circuits",
    "parsing",
    "vocabulary",
    "tokens",
    "retrieval",
    "conversation",
    "tasks",
]


class Import(NamedTuple):
    path: Path
    line: int
    module: str
    is_at_import_time: bool

    @property
    def room(self) -> str:
        """The room of the module that imports."""
        return self.path.relative_to(ROOT / PACKAGE).parts[0].removesuffix(".py")

    @property
    def package(self) -> str:
        """The first part of the imported name."""
        return self.module.split(".")[0]

    @property
    def imported_room(self) -> str:
        """The room of the imported module, which is one of ours."""
        return self.module.split(".")[1] if "." in self.module else "__init__"

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} imports {self.module}"


def find_imports(source: str, path: Path) -> Iterator[Import]:
    """All imports in the source of the module at `path`, by their absolute names."""
    pending: list[tuple[ast.AST, bool]] = [(ast.parse(source, str(path)), True)]
    while pending:
        node, is_at_import_time = pending.pop()
        for name in imported_names(node, path):
            yield Import(path, node.lineno, name, is_at_import_time)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            is_at_import_time = False
        typing_only = node.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) else []
        pending += [(child, is_at_import_time and child not in typing_only) for child in ast.iter_child_nodes(node)]


def imported_names(node: ast.AST, path: Path) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    folders = path.relative_to(ROOT).parent.parts
    parents = folders[: len(folders) - node.level + 1] if node.level else ()
    module = ".".join([*parents, *([node.module] if node.module else [])])
    if module != PACKAGE:
        return [module]
    # `from lit_retrieval import tasks` names a room, `from lit_retrieval import something` a name in __init__.py.
    names = [alias.name for alias in node.names if alias.name != "__version__"]  # a string, which any room may say
    return [f"{PACKAGE}.{name}" if name in MAY_IMPORT else PACKAGE for name in names]


def find_wrong_way(imports: list[Import]) -> list[str]:
    return [
        f"{found}, but {found.room} may import only {sorted(MAY_IMPORT[found.room]) or 'nothing'} of the package"
        for found in imports
        if found.package == PACKAGE
        and found.imported_room != found.room
        and found.imported_room not in MAY_IMPORT[found.room]
    ]


def modules_loaded_by(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(ran.stdout.split())


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    paths = sorted((ROOT / PACKAGE).rglob("*.py"))
    return [found for path in paths for found in find_imports(path.read_text(encoding="utf-8"), path)]


def test_every_room_has_its_place_in_the_order():
    rooms = {path.stem for path in (ROOT / PACKAGE).glob("*.py")}
    rooms |= {path.name for path in (ROOT / PACKAGE).iterdir() if any(path.rglob("*.py"))}
    assert not rooms - set(MAY_IMPORT), "say in MAY_IMPORT what these rooms may import"


def test_imports_go_one_way(imports: list[Import]):
    wrong = find_wrong_way(imports)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "source",
    [
        "from lit_retrieval.tasks.task import Task",
        "from lit_retrieval import tasks",
        "import lit_retrieval.tasks",
        "from ..tasks import Task",
        "from .. import tasks",
        "def late():\n    from lit_retrieval.tasks import Task",
    ],
)
def test_an_import_that_goes_up_is_found(source: str):
    path = ROOT / PACKAGE / "retrieval" / "retriever.py"
    (wrong,) = find_wrong_way(list(find_imports(source, path)))
    assert wrong.startswith(f"lit_retrieval/retrieval/retriever.py:{len(source.splitlines())} imports ")
    assert "retrieval may import only ['errors', 'files', 'ranges', 'renamed', 'tokens', 'vocabulary']" in wrong


def test_words_need_no_torch(imports: list[Import]):
    wrong = [str(found) for found in imports if found.room in ROOMS_WITHOUT_TORCH and found.package == "torch"]
    assert not wrong, "\n".join(wrong)


def test_fla_triton_and_models_of_others_are_imported_only_when_asked_for(imports: list[Import]):
    """A module of WHEN_ASKED may import them, and the room harness lm_eval: both are imported only when asked for."""
    early = [found for found in imports if found.is_at_import_time and found.room != "harness"]
    wrong = [str(found) for found in early if found.package in LATE and found.path.stem not in WHEN_ASKED]
    wrong += [str(found) for found in early if found.module.split(".")[-1] in WHEN_ASKED]
    assert not wrong, "import these inside the function that needs them:\n" + "\n".join(wrong)


def test_when_an_import_runs_is_told():
    source = """
try:
    import triton
except ImportError:
    pass
if TYPE_CHECKING:
    import fla
else:
    import torch
def late():
    import fla.layers
"""
    found = {name.module: name.is_at_import_time for name in find_imports(source, ROOT / PACKAGE / "cli.py")}
    assert found == {"triton": True, "fla": False, "torch": True, "fla.layers": False}


def test_the_package_imports_neither_tools_nor_tests(imports: list[Import]):
    wrong = [str(found) for found in imports if found.package in {"tools", "tests"}]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", [PACKAGE, *(f"{PACKAGE}.{room}" for room in ROOMS_WITHOUT_TORCH)])
def test_importing_leaves_torch_alone(module: str):
    loaded = modules_loaded_by(f"import {module}")
    assert module in loaded
    assert "torch" not in loaded
