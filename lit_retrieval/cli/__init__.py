"""The command line: `python -m lit_retrieval fit|validate|test|predict --config FILE`."""

from lit_retrieval.cli.command import main, read_configuration, train
from lit_retrieval.cli.retrieval_cli import RetrievalCLI

__all__ = ["RetrievalCLI", "main", "read_configuration", "train"]
