"""Writes docs/layers.md: our layers, and fla's with the code that computes them, found by running all of them."""

import csv
import inspect
import logging
import string
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, cast

import torch
import yaml
from benchmarks.models import MODEL_FILES, build_model
from pages import docstrings
from torch import nn

from lit_retrieval import mixers
from lit_retrieval.mixers import FlaLayer, Mixer
from lit_retrieval.models import SequenceModel
from lit_retrieval.ops.fla_cpu import on_gpu
from lit_retrieval.ops.fla_cpu.table import TABLE

_HEAD = """\
# Layers

A model is a list of layers, mixers, each named by its class path: of this package, of flash-linear-attention (fla), or
[your own](howto/mixer.md). `--model NAME` takes a ready file, `configs/model/NAME.yaml`; those that end in `0.5M` have
the paper's size. States are in elements of one sample, after 128 tokens; where they grow with the number of tokens, as
in attention, they are marked with +.

"""
_OURS = """\
## Ours

Layers of `lit_retrieval.mixers`. The numbers of a layer are those of one with `hidden_size` 64 and all defaults.
"Step" is the time of a training step on a CPU, as a multiple of our Transformer's (`data/results/training_speed.csv`).

| NAME | layers | parameters | state | step |
|---|---|---|---|---|
"""
_FLA = """\
## fla's layers

Every layer of `fla.layers` that can be a mixer has a model, `--model NAME_0.5M`. On a CPU a layer is computed by the
function of `lit_retrieval.ops.fla_cpu` in the column "by": those of `attention` use PyTorch's attention, most others
are recurrences of our own. `cache` keeps fla's state from one token to the next;
`prefix` reads all tokens again in each call, since fla's own code has no usable cache. The state is that of all blocks;
log-linear Mamba-2 has a matrix for each bit of the number of tokens that is set, of which 128 has one and 127 seven.

Eight take over three times as long. Native sparse attention has no kernel for a CPU: it computes three kinds of
attention under masks, of 16 heads. Log-linear Mamba-2 and Mamba-3 have 14 and 18 blocks, whose levels, angles and
products of keys are operations of PyTorch around the recurrence. A mixture of memories sorts its tokens by memory, and
momentum's recurrence runs in chunks in PyTorch. The matrices of PaTH, stick-breaking and Wall attention grow with the
square of the length, and PyTorch has no fused kernel for them.

`YOCOCrossAttention` and `YOCOSharedKVBuilder` are refused: the one attends to keys and values that another layer makes,
and these are all that the other one makes.

On a GPU fla's own kernels run, except in the cases below, whose letters are in the column "GPU". There our form for a
CPU runs, in PyTorch: the same numbers, but slower, and attention under a mask keeps a matrix of all pairs of tokens. So
no layer is refused in float32, and no package has to be installed. Mamba-2, MesaNet, the gated delta rule and simple
GLA have other kernels of fla instead of PyTorch. What was measured on which GPU is in [gpu.md](gpu.md).

{cases}

| layer | NAME | by | decoding | parameters | state | GPU | step |
|---|---|---|---|---|---|---|---|
"""
_CASES: dict[Callable[..., bool], str] = {
    on_gpu.always: "Always",
    on_gpu.computes_in_float32: "In float32",
    on_gpu.is_float32: "In float32",
    on_gpu.is_refused: "On Hopper with Triton 3.4.0 to 3.7.0",
    on_gpu.is_too_small: "With smaller heads or blocks",
    on_gpu.lacks_flash_attention: "In float32, and without flash-attn",
    on_gpu.lacks_mamba3: "Without mamba-ssm",
    on_gpu.refuses_gates: "On Hopper with Triton 3.4.0 to 3.7.0",
    on_gpu.wants_gradients: "In float32",
}
"""When fla's functions are replaced on a GPU."""
_INSTEAD = {
    path.partition(".layers.")[2].partition(".")[2] or path.rpartition(".")[2]: one
    for path, one in on_gpu.INSTEAD.items()
} | {"flash_attn_func": on_gpu.FLASH_ATTENTION}
"""What replaces fla's functions and methods, by their names without modules."""
_LETTERS = dict(
    zip(dict.fromkeys((_CASES[one.when], one.why) for one in _INSTEAD.values()), string.ascii_lowercase, strict=False)
)
"""The letter of each case and its reason."""
PAGE = MODEL_FILES.parents[1] / "docs/layers.md"
_SPEED = MODEL_FILES.parents[1] / "data/results/training_speed.csv"
_LENGTH = 128  # tokens
_ABOVE_64 = 66  # tokens; for shorter texts some layers call other functions
_OUR_FILES = {path.stem for path in MODEL_FILES.glob("*.yaml") if "fla.layers" not in path.read_text()}
_KERNELS = {row.detail for row in TABLE if row.kind == "ours"}
_FOLDER = "ops/fla_cpu/"
_IN_MANY_LAYERS = (
    "activations.", "attention.layers.as_it_is", "layers.causal_conv1d", "layers.rotary", "layers.token_shift",
    "norms.",
)  # fmt: skip


def page() -> str:
    """The page, in Markdown: our layers, then those of fla, by name."""
    lines = [_line(path) for path in _files(of_fla=True)]
    cases = "\n".join(f"- {letter}. {case}: {why}." for (case, why), letter in _LETTERS.items())
    return "".join([_HEAD, ours(), "\n", _FLA.format(cases=cases), *sorted(lines, key=str.lower)])


def ours() -> str:
    """The part of our layers: the ready models, and a section for each class."""
    exported = (getattr(mixers, name) for name in sorted(mixers.__all__, key=str.lower))
    classes = [one for one in exported if inspect.isclass(one) and issubclass(one, nn.Module) and one is not FlaLayer]
    return "".join([_OURS, *map(_model, _files(of_fla=False)), *map(_section, classes)])


def _files(of_fla: bool) -> list[Path]:
    """The ready models of the paper's 0.5M whose layers are fla's, or ours."""
    return [path for path in sorted(MODEL_FILES.glob("*_0.5M.yaml")) if ("fla.layers" in path.read_text()) == of_fla]


def _model(path: Path) -> str:
    """The row of a ready model of ours."""
    stages = yaml.safe_load(path.read_text())["stages"]
    named = (f"{stage['repeat']} x {_names(stage['mixers'])}" for stage in stages)
    return f"| `{path.stem}` | {', '.join(named)} | {_sizes(build_model(path, 2))} | {_step(path)} |\n"


def _names(factories: list[dict[str, str]]) -> str:
    return " + ".join(f"`{factory['class_path'].rpartition('.')[2]}`" for factory in factories)


def _sizes(model: SequenceModel) -> str:
    return f"{model.num_parameters:,} | {_state(model)}"


def _state(one: SequenceModel | Mixer) -> str:
    length = one.state_size(_LENGTH)
    return f"{length:,}{' +' if one.state_size(4 * _LENGTH) > length else ''}"


def _section(kind: type[nn.Module]) -> str:
    """The section of a class of ours."""
    parts = [docstrings.head(kind)]
    if kind is not mixers.Parallel:  # its size is that of its mixers
        layer = kind(hidden_size=64, layer_idx=0)
        parameters = sum(one.numel() for one in layer.parameters())
        parts.append(f"Parameters: {parameters:,}. State: {_state(cast('Mixer', layer))}.")
    ready = [name for name in docstrings.ready(kind, "lit_retrieval.mixers", "model") if name in _OUR_FILES]
    parts += [f"Ready: {', '.join(f'`--model {name}`' for name in ready)}."] if ready else []
    return "\n" + "\n\n".join(parts) + "\n"


@torch.no_grad()
def _line(path: Path) -> str:
    """The row of one model of fla's, whose first mixer is the layer."""
    kind = yaml.safe_load(path.read_text())["stages"][0]["mixers"][0]["class_path"].rpartition(".")[2]
    model = build_model(path, 2)
    layer = model.mixers[0]
    assert isinstance(layer, FlaLayer)
    with _called() as (names, theirs):
        layer(torch.randn(1, _ABOVE_64, model.embedding.shape[1]))
    replaced = [one for name, one in _INSTEAD.items() if name in theirs]
    letters = ", ".join(sorted({_LETTERS[_CASES[one.when], one.why] for one in replaced}))
    by = ", ".join(f"`{name}`" for name in sorted(names)) or "PyTorch's attention"
    cells = (f"`{kind}`", f"`{path.stem.removesuffix('_0.5M')}`", by, layer.decoding(torch.device("cpu")))
    return f"| {' | '.join(cells)} | {_sizes(model)} | {letters} | {_step(path)} |\n"


def _has_gate(call: dict[str, Any]) -> bool:
    return on_gpu.has_gate(*call["args"], **call["kwargs"])


def _step(path: Path) -> str:
    """The time of a model's training step, as a multiple of our Transformer's."""
    with _SPEED.open(encoding="utf-8") as file:
        (share,) = [row["share_of_transformer"] for row in csv.DictReader(file) if row["model"] == path.stem]
    return f"{float(share):.1f}"


@contextmanager
def _called() -> Iterator[tuple[set[str], set[str]]]:
    """The names of our functions that fla calls in the block, as `module.function`, like in the table.

    The second set has the names, without modules, of fla's functions that they replace.
    """
    names: set[str] = set()
    theirs: set[str] = set()
    running: list[FrameType] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "return" and running and frame is running[-1]:
            running.pop()
        if event != "call" or running:
            return
        _, is_ours, rest = frame.f_code.co_filename.partition(_FOLDER)
        if is_ours and frame.f_code.co_qualname == "_for_cpu.<locals>.choose":
            call = frame.f_locals
            name = call["theirs"].__qualname__
            if name not in _INSTEAD or _INSTEAD[name].when is not on_gpu.is_refused or _has_gate(call):
                theirs.add(name)
        name = f"{rest.removesuffix('.py').replace('/', '.')}.{frame.f_code.co_name}"
        if is_ours and name in _KERNELS and not name.startswith(_IN_MANY_LAYERS):
            running.append(frame)
            names.add(name)

    sys.setprofile(note)
    try:
        yield names, theirs
    finally:
        sys.setprofile(None)


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # fla's advice on other packages
    warnings.simplefilter("ignore")
    PAGE.write_text(page())
