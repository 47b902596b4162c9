"""Prints docs/fla.md: the table of fla's functions and their replacements on a CPU."""

from itertools import groupby

from lit_retrieval.ops.fla_cpu.table import TABLE, Row

_HEAD = """\
# flash-linear-attention on a CPU

fla's kernels need a GPU. After `install()` its functions, layers and whole models also take tensors on a CPU, however
they are called; `FlaLayer` and the command line call it themselves. Tensors on a GPU go to fla's own functions, but for
[some that refuse them or are wrong](layers.md#flas-layers), which ours replace there too.

```python
from lit_retrieval.ops import fla_cpu

fla_cpu.install()
from fla.ops.gla import chunk_gla  # our kernel for tensors on a CPU
```

Half precision is computed in float32, and the outputs have the dtype of the inputs. An argument that our function does
not take is an error that names it, unless it only chooses between kernels. Layers that call the package flash-attn
do without it on a CPU.

This page is made from the table in `lit_retrieval/ops/fla_cpu/table.py`, by `python -m lit_retrieval.ops.fla_cpu >
docs/fla.md`. A function that is not listed runs on a GPU only. fla's own tests say what works:
[fla_suite.md](fla_suite.md).

| fla's function | on a CPU |
|---|---|
"""


def page() -> str:
    """The page, in Markdown; functions of one module with the same form are in one line."""
    lines = []
    for (module, what), rows in groupby(TABLE, key=lambda row: (row.theirs.rpartition(".")[0], _describe(row))):
        names = ", ".join(f"`{row.theirs.rpartition('.')[2]}`" for row in rows)
        lines.append(f"| `{module}`: {names} | {what} |\n")
    return _HEAD + "".join(lines)


def _describe(row: Row) -> str:
    if row.kind == "ours" and row.detail.startswith("fla."):
        return f"fla's `{row.detail.rpartition('.')[2]}`, in PyTorch"
    if row.kind == "ours":
        return f"ours: `{row.detail}`" if row.detail.rpartition(".")[2] not in row.theirs else "ours"
    if row.kind == "naive":
        return f"slow, step by step: `{row.detail}`"
    return f"refused: {row.detail}" if row.kind == "refused" else f"fla's own code, with {row.detail}"


if __name__ == "__main__":
    print(page(), end="")
