"""The parser of the command line: a short usage, and which classes a configuration may name."""

import os
from argparse import HelpFormatter

from jsonargparse import set_parsing_settings
from lightning.pytorch.cli import LightningArgumentParser

from lit_retrieval.parsing import OneLineErrors, fail

ALLOW = "LIT_RETRIEVAL_ALLOW"


class Parser(OneLineErrors, LightningArgumentParser):
    """A parser whose errors are one line, and whose usage is short."""

    def format_help(self, formatter: HelpFormatter | None = None) -> str:
        """The help under a usage of one line: it describes each option anyway."""
        command = "{fit,validate,test,predict} " if self._subparsers else ""
        self.usage = f"{self.prog.replace(' [options]', '')} {command}--config FILE [--key value ...]"
        return super().format_help(formatter)


def limit_imports() -> None:
    """Say which classes a configuration may name, since naming one imports its module, which is to run it.

    `LIT_RETRIEVAL_ALLOW=lit_retrieval,my_package` allows what begins so, and nothing else. Without it, everything is
    allowed but what runs commands or reads and writes files by itself (jsonargparse's list: os, subprocess, ...).
    """
    prefixes = [prefix.strip() for prefix in os.environ.get(ALLOW, "").split(",") if prefix.strip()]
    if bad := [prefix for prefix in prefixes if not all(part.isidentifier() for part in prefix.split("."))]:
        fail(f"{ALLOW} has {bad[0]!r}, which is no name of a package; write names with commas between them")
    set_parsing_settings(import_path_denylist=["*"] if prefixes else [], import_path_allowlist=prefixes)
