"""The subcommand `parameters`."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.models import build_model

_VOCAB_SIZE = 2  # any number will do while the embedding is frozen: it is not counted


def parameters(files: list[Path]) -> None:
    """Print how many trainable parameters each model file has.

    The frozen sinusoidal embedding, which is the head as well, is not counted, so the vocabulary does not matter. A
    learned embedding would count vocab_size * hidden_size more; the model is built with a vocabulary of 2 here.

    Args:
        files: Model files, such as configs/model/mamba_0.5M.yaml; several make one table.
    """
    table = Table("model", "trainable parameters")
    table.columns[1].justify = "right"
    for file in files:
        table.add_row(file.stem, f"{build_model(file, _VOCAB_SIZE).num_parameters:,}")
    Console().print(table)
