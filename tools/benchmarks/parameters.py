"""The subcommand `parameters`."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.models import build_model

_LENGTH = 128  # tokens after which the state is counted
_VOCAB_SIZE = 2  # any size: a frozen embedding is not counted


def parameters(files: list[Path]) -> None:
    """Print the number of trainable parameters of each model file, and the size of its state after 128 tokens.

    The frozen sinusoidal embedding, tied to the head, is not counted, so the vocabulary does not matter. A learned
    embedding has vocab_size * hidden_size parameters; models are built with a vocabulary of 2 here.

    Args:
        files: Model files, such as configs/model/mamba_0.5M.yaml.
    """
    table = Table("model", "trainable parameters", "state elements", "bits")
    for column in table.columns[1:]:
        column.justify = "right"
    for file in files:
        model = build_model(file, _VOCAB_SIZE)
        counts = (model.num_parameters, model.state_size(_LENGTH), model.state_bits(_LENGTH))
        table.add_row(file.stem, *(f"{count:,}" for count in counts))
    Console(width=120).print(table)
