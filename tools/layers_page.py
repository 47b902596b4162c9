"""Prints docs/layers.md: each layer of fla, what computes it on a CPU, and how it is decoded, all found by running."""

import csv
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
import yaml
from benchmarks.models import MODEL_FILES, build_model

from lit_retrieval.mixers import FlaLayer
from lit_retrieval.ops.fla_cpu.table import TABLE

_HEAD = """\
# fla's layers on a CPU

Every layer of `fla.layers` that can be a mixer has a model of the paper's 0.5M, `configs/model/NAME_0.5M.yaml`
(`--model NAME_0.5M`). On a CPU a layer is computed by the function of `lit_retrieval.ops.fla_cpu` in the third column:
those of `attention` are PyTorch's attention, all others are recurrences of our own. On a GPU fla's own kernels run.
`cache` keeps fla's state from one token to the next; `prefix` reads all tokens again in each call, since fla's own code
has no usable cache. The state is in elements, after 128 tokens, over all blocks; that of log-linear Mamba-2 has a
matrix for each bit of the number of tokens that is set, of which 128 has one and 127 seven. The last column is the time
of a training step, as a multiple of our Transformer's (`data/results/training_speed.csv`).

Eight take over three times as long. Native sparse attention has no kernel for a CPU: it computes three kinds of
attention under masks, of 16 heads. Log-linear Mamba-2 and Mamba-3 have 14 and 18 blocks, whose levels, angles and
products of keys are operations of PyTorch around the recurrence. A mixture of memories sorts its tokens by memory, and
momentum's recurrence runs in chunks in PyTorch. The matrices of PaTH, stick-breaking and Wall attention grow with the
square of the length, and PyTorch has no fused kernel for them.

`YOCOCrossAttention` and `YOCOSharedKVBuilder` are refused: the one attends to keys and values that another layer makes,
and these are all that the other one makes.

| layer | NAME | by | decoding | parameters | state | step |
|---|---|---|---|---|---|---|
"""
_SPEED = MODEL_FILES.parents[1] / "data/results/training_speed.csv"
_LENGTH = 128  # tokens
_KERNELS = {row.detail for row in TABLE if row.kind == "ours"}
_FOLDER = "ops/fla_cpu/"
_IN_MANY_LAYERS = (
    "activations.", "attention.layers.as_it_is", "layers.causal_conv1d", "layers.rotary", "layers.token_shift",
    "norms.",
)  # fmt: skip


def page() -> str:
    """The page, in Markdown, by the names of the layers."""
    lines = [_line(path) for path in MODEL_FILES.glob("*_0.5M.yaml") if "fla.layers" in path.read_text()]
    return _HEAD + "".join(sorted(lines, key=str.lower))


@torch.no_grad()
def _line(path: Path) -> str:
    """The row of one model file, whose first mixer is the layer."""
    kind = yaml.safe_load(path.read_text())["stages"][0]["mixers"][0]["class_path"].rpartition(".")[2]
    model = build_model(path, 2)
    layer = model.mixers[0]
    assert isinstance(layer, FlaLayer)
    with _called() as names:
        layer(torch.randn(1, 5, model.embedding.shape[1]))
    by = ", ".join(f"`{name}`" for name in sorted(names)) or "PyTorch's attention"
    cells = (f"`{kind}`", f"`{path.stem.removesuffix('_0.5M')}`", by, layer.decoding(torch.device("cpu")))
    sizes = f"{model.num_parameters:,} | {model.state_size(_LENGTH):,}"
    with _SPEED.open(encoding="utf-8") as file:
        shares = {row["model"]: row["share_of_transformer"] for row in csv.DictReader(file)}
    return f"| {' | '.join(cells)} | {sizes} | {float(shares[path.stem]):.1f} |\n"


@contextmanager
def _called() -> Iterator[set[str]]:
    """The names of our functions, `module.function` as the table has them, that fla calls while the block runs."""
    names: set[str] = set()
    running: list[FrameType] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "return" and running and frame is running[-1]:
            running.pop()
        if event != "call" or running:
            return
        _, is_ours, rest = frame.f_code.co_filename.partition(_FOLDER)
        name = f"{rest.removesuffix('.py').replace('/', '.')}.{frame.f_code.co_name}"
        if is_ours and name in _KERNELS and not name.startswith(_IN_MANY_LAYERS):
            running.append(frame)
            names.add(name)

    sys.setprofile(note)
    try:
        yield names
    finally:
        sys.setprofile(None)


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # fla's advice on other packages
    warnings.simplefilter("ignore")
    print(page(), end="")
