"""python -m lit_retrieval.mixers: checks a class against the rules of a mixer."""

import difflib
import inspect
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Any, Literal, NoReturn

import torch

from lit_retrieval.conformance import path_of, print_report
from lit_retrieval.errors import UserError
from lit_retrieval.mixers.checks import report
from lit_retrieval.mixers.fla_layer import class_of
from lit_retrieval.mixers.mixer import RENAME, MixerFactory, takes_hidden_size
from lit_retrieval.parsing import OneLineErrors, fail, limit_imports, put_first
from lit_retrieval.ranges import check_at_least


def check(
    mixer: MixerFactory, hidden_size: int = 64, layer_idx: int = 0, device: Literal["cpu", "cuda"] = "cpu"
) -> bool:
    """Check a mixer against all rules, and print a line for each, with the measured number.

    The exit status is 1 if a rule is broken. Name the class by `--mixer my.Layer`, or `my.Layer` alone; it may be in a
    file in the current folder. `--mixer.NAME VALUE` sets an argument of the class.

    Args:
        mixer: The class: one of lit_retrieval.mixers, a layer of fla, or your own.
        hidden_size: Elements of each token's vector.
        layer_idx: Index of the layer in the model, from 0.
        device: Device to check it on; with a GPU, the rule CUDA compares it with the CPU.
    """
    check_at_least("hidden_size", hidden_size, 1, "--hidden_size")
    check_at_least("layer_idx", layer_idx, 0, "--layer_idx")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device here; leave out --device cuda")
    title = f"{path_of(class_of(mixer))}, hidden_size {hidden_size}"
    return print_report(title, report(mixer, hidden_size, layer_idx, device))


class Parser(OneLineErrors):
    """The parser of the command line, of its subcommand and of the class."""

    named: type | None = None

    def add_class_arguments(self, class_type: type, nested_key: str | None = None, *args: Any, **kwargs: Any) -> Any:
        """Add the arguments of a class, and remember the class."""
        self.named = class_type
        return super().add_class_arguments(class_type, nested_key, *args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print a one-line error that says how to set an argument of the class."""
        if found := re.fullmatch(r"the following arguments are required: (\w+)(?:, \w+)*", message):
            name, fix = "the class", f" beside hidden_size and layer_idx; set --mixer.{found[1]}"
            if self.named is not None:
                name, fix = path_of(self.named), fix if takes_hidden_size(self.named) else f", {RENAME}"
            message = f"{name} needs {found[1]}{fix}"
        elif found := re.fullmatch(r"unrecognized arguments: --(\w+)\b.*", message):
            is_ours = difflib.get_close_matches(found[1], inspect.signature(check).parameters, 1)
            message += "" if is_ours else f"; an argument of the class is --mixer.{found[1]}"
        super().error(message, ex)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; status 1 for a broken rule, and one line and status 2 for a mistake in the command."""
    warnings.filterwarnings("ignore", message="Triton is not supported on current platform")  # our kernels run there
    given = put_first("--mixer", sys.argv[1:] if arguments is None else arguments)
    parser = Parser(prog="python -m lit_retrieval.mixers", description="The mixers without the trainer.")
    about = (check.__doc__ or "").split("\n\n")[0]
    subparser = Parser(description=about)
    subparser.add_function_arguments(check)
    parser.add_subcommands().add_subcommand("check", subparser, help=about)
    try:
        limit_imports()
        chosen: Any = parser.instantiate(parser.parse_args(given)).check
        holds = check(**chosen.as_dict())
    except UserError as error:
        fail(str(error))
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
