"""The parser of the command line: short usage, one-line errors, and the classes that may be imported."""

import re
import sys
from argparse import HelpFormatter
from collections.abc import Sequence
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml
from lightning.pytorch.cli import LightningArgumentParser

from lit_retrieval.cli.help import COMMANDS, is_ours, rewrite, title_of_group
from lit_retrieval.cli.ready_configs import find_config
from lit_retrieval.errors import UserError, one_line
from lit_retrieval.mixers.mixer import RENAME, takes_hidden_size
from lit_retrieval.parsing import OneLineErrors, fail, one_line_errors, read_yaml

Built = TypeVar("Built")

# Enums are defaults of some arguments of Lightning's callbacks.
yaml.SafeDumper.add_multi_representer(Enum, lambda dumper, one: dumper.represent_data(one.value))


class Parser(OneLineErrors, LightningArgumentParser):
    """A parser with one-line errors and a short usage."""

    named: type | None = None  # the class whose init_args it parses

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"prog": "python -m lit_retrieval", **kwargs})  # also for the help of a class

    def add_class_arguments(self, class_type: type, nested_key: str | None = None, *args: Any, **kwargs: Any) -> Any:
        """Add the arguments of a class, and remember the class if the parser is for its init_args alone."""
        if nested_key is None:
            self.named, self.is_for_mixer = class_type, "hidden_size" in (kwargs.get("skip") or ())
        return super().add_class_arguments(class_type, nested_key, *args, **kwargs)

    def format_help(self, formatter: HelpFormatter | None = None) -> str:
        """The help, with a usage of one line, our keys first and Lightning's Trainer last."""
        program, command = self.prog.replace(" [options]", ""), self.prog.split()[-1]
        is_command = command in COMMANDS
        commands = "" if is_command else f" {{{','.join(COMMANDS)}}}"
        self.usage = f"{program}{commands} --config FILE [--key value ...]"
        for action in self._actions if is_command else ():
            rewrite(action, command)
        groups: Any = self._action_groups
        for group in groups:
            group.title = title_of_group(group.title, command)
        groups.sort(key=lambda group: not is_ours(group.title))
        return super().format_help(formatter)

    def add_subcommands(self, *args: Any, **kwargs: Any) -> Any:
        """Add the commands, each with a complete sentence as its help."""
        commands: Any = super().add_subcommands(*args, **kwargs)
        add = commands.add_subcommand
        commands.add_subcommand = lambda name, parser, help: add(name, parser, help=COMMANDS[name])
        return commands

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exit with one line, which names a missing file or a missing package of fla's layers."""
        wrong_place = _of_optimizer, _other_program, _no_option
        missing = _missing_file, self._missing_arguments, _wrong_call, _missing_package
        rewritten = (one(message) for one in (*wrong_place, *missing))
        super().error(next(filter(None, rewritten), message), ex)

    def _missing_arguments(self, message: str) -> str:
        """The message for a class without its required arguments, or a command without a task; empty for others."""
        if re.fullmatch(r"the following arguments are required: \w+\.data\.task", message):
            return "there is no task; write --config NAME, such as --config quickstart, or the class in --data.task"
        found = re.fullmatch(r"the following arguments are required: (\w+(?:, \w+)*)", message)
        if found is None:
            return ""
        if self.named is None:
            return f"the class that was named needs {found[1]}; write init_args beside its class_path"
        name = f"{self.named.__module__}.{self.named.__qualname__}"
        if self.is_for_mixer and not takes_hidden_size(self.named):
            return f"{name} needs {found[1]}, {RENAME}"
        return f"{name} needs {found[1]}; write init_args beside its class_path"


def _of_optimizer(message: str) -> str:
    """The message for misplaced keys of an optimizer, or a second learning rate; empty for other errors."""
    if re.search(r"Option 'lr' is not accepted|unrecognized arguments: --optimizer\.lr\b", message):
        return "the learning rate of any optimizer is --model.learning_rate; leave out lr"
    if found := re.search(r"unrecognized arguments: --((?:optimizer|lr_scheduler)\b.*)", message):
        return f"unrecognized arguments: --{found[1]}; write --model.{found[1]}"
    return ""


def _other_program(message: str) -> str:
    """The message if the command is the name of another program of this package; empty for other errors."""
    found = re.search(r"invalid choice: '(tasks|mixers)'", message)
    return f"{found[1]} is a program of its own; write python -m lit_retrieval.{found[1]}" if found else ""


def _no_option(message: str) -> str:
    """The message for a configuration that is given without `--config`; empty for other errors."""
    found = re.fullmatch(r"unrecognized arguments: ([^-]\S*)", message)
    is_config = found is not None and find_config(found[1], "config") is not None
    return f"unrecognized arguments: {found[1]}; write --config {found[1]}" if found and is_config else ""


def _missing_file(message: str) -> str:
    """The message if the file of a part of the configuration does not exist; empty for other errors."""
    found = re.search(r"""Parser key "([\w.]+)".*Unable to load config ['"](.+?)['"]""", message, re.DOTALL)
    if found is None or found[2].startswith("{") or Path(found[2]).is_file():
        return ""
    return f"there is no file {found[2]}; write the path of a YAML in {found[1]}"


def _wrong_call(message: str) -> str:
    """The message for a class whose call does not match its protocol; empty for other errors."""
    found = re.search(r"does not implement protocol (\w+)", message)
    patterns = r'Parser key "([\w.]+)"', r"Given value: (?:\{'class_path': ')?([^\s']+)"
    key, given = (re.search(pattern, message) for pattern in patterns)
    if not (found and key and given):
        return ""
    must = f"have the methods of a {found[1]}" if found[1].endswith("Loader") else f"be called as a {found[1]} is"
    return f"{given[1]} must {must}; set another class in {key[1]}"


def _missing_package(message: str) -> str:
    found = re.search(r"No module named '(?:fla|triton)\b.*?'", message)
    return f"{found[0]}; fla's layers need Linux and pip install flash-linear-attention triton" if found else ""


def instantiate(class_type: type[Built], *args: Any, **kwargs: Any) -> Built:
    """Build an object of a configuration; raises `UserError` if a class of another package refuses its arguments.

    Any other error in a class that is not installed, but is in some folder, is a bug in that class.
    """
    try:
        return class_type(*args, **kwargs)
    except (AssertionError, ImportError, ValueError, ArithmeticError, RuntimeError, TypeError) as error:
        is_installed = "site-packages" in (getattr(sys.modules.get(class_type.__module__), "__file__", "") or "")
        is_ours = class_type.__module__.split(".")[0] == "lit_retrieval"
        is_deliberate = isinstance(error, AssertionError | ImportError | ValueError)
        if isinstance(error, UserError) or is_ours or not (is_deliberate or is_installed):
            raise
        name = f"{class_type.__module__}.{class_type.__qualname__}"
        reason = one_line(error) or type(error).__name__
        if isinstance(error, ImportError):
            raise UserError(f"{name} can't be used: {reason}") from error
        raise UserError(f"{name} refuses its arguments: {reason}; set its init_args") from error


def check_files(arguments: Sequence[str]) -> None:
    """Exit with one line if a file of `--config` is not a configuration; jsonargparse would not name the file."""
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--config=") else [word])]
    for path in (Path(value) for option, value in pairwise(words) if option in ("--config", "-c")):
        with one_line_errors():
            content = read_yaml(path)
        if not isinstance(content, dict):
            fail(f"{path} must have keys such as `trainer: ...`, got {type(content).__name__}; set --config")
