"""No function of the package takes more than a dozen arguments or fills more than a screen."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import lit_retrieval

PACKAGE = Path(lit_retrieval.__file__).parent
MOST_ARGUMENTS, MOST_LINES = 12, 40

# Functions that take more arguments, and why they may.
MAY_TAKE_MORE = {
    "data/transcript_data.py TranscriptData.__init__": "each argument is a YAML key of its own",
    "training/sequence_module.py SequenceModule.__init__": "each argument is a YAML key of its own",
    "ops/fla_cpu/cyclic_flow.py cyclic_flow": "fla calls it with these",
    "ops/fla_cpu/layers.py causal_conv1d_bwd": "fla calls it with these",
    "ops/fla_cpu/norms.py layer_norm_gated_bwd": "fla calls it with these",
    "ops/selective_scan/gpu.py _forward_kernel": "a Triton kernel takes each pointer by itself",
    "ops/selective_scan/gpu.py _backward_kernel": "a Triton kernel takes each pointer by itself",
    "ops/selective_scan/gpu.py _part_backward": "and so does what it calls",
}


def functions_of(node: ast.AST, name: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """All functions below a node, by file and qualified name."""
    for child in ast.iter_child_nodes(node):
        inner = (
            f"{name}{child.name}" if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else ""
        )
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield inner, child
        yield from functions_of(child, f"{inner}." if inner else name)


def count_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The function's lines without its docstring and its arguments, of which there is a limit by itself."""
    has_docstring = ast.get_docstring(function) is not None
    body = function.body[1:] if has_docstring else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.fixture(scope="module")
def functions() -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    return {
        name: function
        for path in sorted(PACKAGE.rglob("*.py"))
        for name, function in functions_of(
            ast.parse(path.read_text(encoding="utf-8")), f"{path.relative_to(PACKAGE).as_posix()} "
        )
    }


def test_no_function_takes_more_than_a_dozen_arguments(functions):
    counts = {
        name: len([*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs])
        for name, function in functions.items()
    }
    wide = {name: count for name, count in counts.items() if count > MOST_ARGUMENTS}
    assert wide.keys() == MAY_TAKE_MORE.keys(), "group arguments in a NamedTuple; Numba takes them too"


def test_no_function_is_longer_than_a_screen(functions):
    long = {name: count for name, function in functions.items() if (count := count_lines(function)) > MOST_LINES}
    assert not long, "find the second idea in it, and name it"
