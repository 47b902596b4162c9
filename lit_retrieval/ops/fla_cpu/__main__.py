"""Prints docs/fla.md: the table of fla's functions and their replacements on a CPU."""

from itertools import groupby

from lit_retrieval.ops.fla_cpu.table import TABLE, Row

_HEAD = """\
# flash-linear-attention on a CPU

fla's kernels need a GPU. After `install()`, fla's functions, layers and whole models also accept tensors on a CPU,
however you call them. `FlaLayer` and the command line call `install()` themselves. Tensors on a GPU still go to fla's
own functions. [Some of these](layers.md#flas-layers) refuse such tensors or compute wrong results; ours replace them
on a GPU too.

```python
from lit_retrieval.ops import fla_cpu

fla_cpu.install()
from fla.ops.gla import chunk_gla  # our kernel for tensors on a CPU
```

Half precision is computed in float32, and the outputs have the dtype of the inputs. If our function does not take an
argument of fla's, the error names the argument; arguments that only choose between kernels are ignored. Layers that
call the package flash-attn work without it on a CPU.

`python -m lit_retrieval.ops.fla_cpu > docs/fla.md` writes this page, from the table in
`lit_retrieval/ops/fla_cpu/table.py`. A function that is not listed runs on a GPU only. fla's own tests show what works:
[fla_suite.md](fla_suite.md). In the table, "ours" is our function, with its name if fla's differs.

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
