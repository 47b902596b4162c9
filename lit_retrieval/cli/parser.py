"""The parser of the command line: a short usage, and which classes a configuration may name."""

import os
import re
from argparse import HelpFormatter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import yaml
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

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say it in one line, and which file or which of the packages that fla's layers need is missing."""
        super().error(_missing_file(message) or message + _missing_package(message), ex)


def _missing_file(message: str) -> str:
    """What to say in place of a message on a part of the configuration whose file is not there."""
    found = re.search(r"""Parser key "([\w.]+)".*Unable to load config ['"](.+?)['"]""", message, re.DOTALL)
    if found is None or Path(found[2]).is_file():
        return ""
    return f"there is no file {found[2]}; write the path of a YAML in {found[1]}"


def _missing_package(message: str) -> str:
    if re.search(r"No module named '(fla|triton)\b", message):
        return "; fla's layers need Linux and pip install flash-linear-attention triton"
    return ""


def check_files(arguments: Sequence[str]) -> None:
    """Say which `--config` is no configuration: the parser would say what is wrong in it, but not in which."""
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--config=") else [word])]
    for path in (Path(value) for option, value in pairwise(words) if option in ("--config", "-c")):
        try:
            content = yaml.safe_load(path.read_text())
        except UnicodeDecodeError:
            fail(f"{path} is no text; write the path of a YAML in --config")
        except yaml.YAMLError as error:
            fail(f"{path} is no YAML: {' '.join(str(error).split())}")
        if not isinstance(content, dict):
            fail(f"{path} has no keys, as in `trainer: ...`; write the path of a configuration in --config")


def limit_imports() -> None:
    """Say which classes a configuration may name, since naming one imports its module, which is to run it.

    `LIT_RETRIEVAL_ALLOW=lit_retrieval,my_package` allows what begins so, and nothing else. Without it, everything is
    allowed but what runs commands or reads and writes files by itself (jsonargparse's list: os, subprocess, ...).
    """
    prefixes = [prefix.strip() for prefix in os.environ.get(ALLOW, "").split(",") if prefix.strip()]
    if bad := [prefix for prefix in prefixes if not all(part.isidentifier() for part in prefix.split("."))]:
        fail(f"{ALLOW} has {bad[0]!r}, which is no name of a package; write names with commas between them")
    set_parsing_settings(import_path_denylist=["*"] if prefixes else [], import_path_allowlist=prefixes)
