"""The subcommand `parameters`."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.models import build_model

_LENGTH = 128  # tokens after which the state is counted
_VOCAB_SIZE = 2  # any number will do while the embedding is frozen: it is not counted


def parameters(files: list[Path]) -> None:
    """Print how many trainable parameters each model file has, and how much it remembers after 128 tokens.

    The frozen sinusoidal embedding, which is the head as well, is not counted, so the vocabulary does not matter. A
    learned embedding would count vocab_size * hidden_size more; the model is built with a vocabulary of 2 here.

    Args:
        files: Model files, such as configs/model/mamba_0.5M.yaml; several make one table.
    """
    table = Table("model", "trainable parameters", "numbers in the state", "bits")
    for column in table.columns[1:]:
        column.justify = "right"
    for file in files:
        model = build_model(file, _VOCAB_SIZE)
        counts = (model.num_parameters, model.state_size(_LENGTH), model.state_bits(_LENGTH))
        table.add_row(file.stem, *(f"{count:,}" for count in counts))
    Console(width=120).print(table)
