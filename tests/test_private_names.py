"""Private names of other packages that we use: a new version may change them without a word.

pyproject.toml has an upper bound for each of these packages. Before it is raised, this test says what has gone.
"""

import ast
import importlib
import inspect
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [path for folder in ("lit_retrieval", "tools") for path in sorted((ROOT / folder).rglob("*.py"))]


class Private(NamedTuple):
    """The package that has the name, the class or module where it is, the files that use it, and why."""

    package: str
    holder: str
    users: set[str]
    why: str


CLI, RETRIEVAL_CLI = "lightning.pytorch.cli:LightningCLI", {"lit_retrieval/cli/retrieval_cli.py"}
LISTED = {
    "_action_groups": Private(
        "jsonargparse",
        "argparse:ArgumentParser",
        {"lit_retrieval/cli/parser.py"},
        "the order of the help: Lightning's Trainer last",
    ),
    "_actions": Private(
        "jsonargparse",
        "argparse:ArgumentParser",
        {"lit_retrieval/cli/parser.py", "lit_retrieval/parsing/parser.py"},
        "all options: to find the nearest one, and to rewrite their help",
    ),
    "_batches_that_stepped": Private(
        "lightning",
        "lightning.pytorch.loops.training_epoch_loop:_TrainingEpochLoop",
        {"lit_retrieval/lightning_internals.py"},
        "the step under which scalars are logged, one off after a resume between two validations",
    ),
    "_broadcast_sigterm_tensor": Private(
        "lightning",
        "lightning.pytorch.loops.training_epoch_loop:_TrainingEpochLoop",
        {"lit_retrieval/lightning_internals.py"},
        "`Preemption` has its own way of telling the other ranks of a signal",
    ),
    "_dynamo": Private(
        "torch",
        "torch._dynamo:config",
        {"lit_retrieval/models/compiled_blocks.py"},
        "how many kinds of blocks may be compiled",
    ),
    "_get_D": Private(
        "flash-linear-attention",
        "fla.layers.mamba2:Mamba2",
        {"lit_retrieval/ops/fla_cpu/mamba.py"},
        "the skip connection of Mamba-2, of which our kernel computes the rest",
    ),
    "_get_train_description": Private(
        "lightning",
        "lightning.pytorch.callbacks:RichProgressBar",
        {"lit_retrieval/training/progress_bar.py"},
        "an endless stream has no epochs to count",
    ),
    "_in_rwkv_module": Private(
        "flash-linear-attention",
        "fla.layers.rwkv7:RWKV7Attention",
        {"lit_retrieval/models/initialization.py"},
        "layers whose first weights `initializer_range` does not draw",
    ),
    "_parse_ckpt_path": Private("lightning", CLI, RETRIEVAL_CLI, "it lets a checkpoint override the configuration"),
    "_prepare_subcommand_kwargs": Private("lightning", CLI, RETRIEVAL_CLI, "what the Trainer's method is called with"),
    "_prepare_subcommand_parser": Private("lightning", CLI, RETRIEVAL_CLI, "options of one command alone"),
    "_register_custom_module": Private(
        "peft",
        "peft:LoraConfig",
        {"lit_retrieval/pretrained/lora.py"},
        "a linear layer of ours with peft's adapter: peft documents it as experimental",
    ),
    "_run_subcommand": Private("lightning", CLI, RETRIEVAL_CLI, "the constructor parses; `run` runs"),
    "_seen_tokens": Private(
        "flash-linear-attention",
        "fla.models.cache_utils:FLALayer",
        {"lit_retrieval/mixers/fla_layer.py"},
        "a state that is handed back in has seen so many tokens",
    ),
    "_set_params_and_buffers_to_ignore_for_model": Private(
        "torch",
        "torch.nn.parallel:DistributedDataParallel",
        {"lit_retrieval/lightning_internals.py"},
        "frozen embeddings, which DDP would broadcast before every step",
    ),
    "_set_seed": Private("lightning", CLI, RETRIEVAL_CLI, "the constructor parses; `run` seeds"),
}
# Underscores that are documented, and our own marks on parameters, which mamba-ssm has too.
PUBLIC = {"_asdict", "_exit", "_fields", "_no_reinit", "_no_weight_decay", "_replace"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name.isidentifier() and name != "_"


def defined_names(tree: ast.AST) -> Iterator[str]:
    """Names that our code defines: functions, classes, variables, and attributes that an object sets on itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            yield node.attr


def used_names(tree: ast.AST) -> Iterator[str]:
    """Names that are looked up: attributes, also by getattr, and what is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom | ast.Import):
            yield from (part for alias in node.names for part in alias.name.split("."))
            yield from (getattr(node, "module", None) or "").split(".")
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr", "setattr"):
            yield from (one.value for one in node.args[1:2] if isinstance(one, ast.Constant))


def overridden_names(tree: ast.Module, path: Path) -> Iterator[str]:
    """Private methods of ours that take the place of those of a class from another package."""
    for node in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        names = {one.name for one in node.body if isinstance(one, ast.FunctionDef) and is_private(one.name)}
        if names and path.is_relative_to(ROOT / "lit_retrieval"):
            module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
            foreign = [
                one for one in getattr(module, node.name).__mro__ if one.__module__.split(".")[0] != "lit_retrieval"
            ]
            yield from (name for name in names if any(name in vars(one) for one in foreign))


def test_every_private_name_is_listed_with_its_users():
    trees = {path: ast.parse(path.read_text()) for path in SOURCES}
    ours = {name for tree in trees.values() for name in defined_names(tree)} | PUBLIC
    found = defaultdict(set)
    for path, tree in trees.items():
        names = {name for name in used_names(tree) if is_private(name) and name not in ours}
        for name in names | set(overridden_names(tree, path)):
            found[name].add(path.relative_to(ROOT).as_posix())
    assert dict(found) == {name: private.users for name, private in LISTED.items()}


@pytest.mark.parametrize("name", LISTED)
def test_a_private_name_is_still_there(name):
    module, _, holder = LISTED[name].holder.partition(":")
    value = getattr(importlib.import_module(module), holder)
    assert hasattr(value, name) or f".{name}" in inspect.getsource(value)


def test_packages_with_private_names_have_an_upper_bound():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    bounded = [one for one in sum(extras, project["dependencies"]) if "<" in one]
    for package in {private.package for private in LISTED.values()}:
        assert any(one.startswith(package) for one in bounded), f"{package} needs an upper bound in pyproject.toml"
