"""The command line: `python -m lit_retrieval fit|validate|test|predict --config FILE`."""

from lit_retrieval.cli.retrieval_cli import RetrievalCLI, main

__all__ = ["RetrievalCLI", "main"]
