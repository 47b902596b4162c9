"""Speed and sizes of this project: `python tools/benchmark.py SUBCOMMAND --help`."""

from pathlib import Path

from benchmarks.data import data
from benchmarks.decode import commits, decode
from benchmarks.ops import ops
from benchmarks.parameters import parameters
from benchmarks.train import train

from lit_retrieval.parsing import OneLineErrors, one_line_errors


def main() -> None:
    """Run the subcommand that the command line names."""
    parser = OneLineErrors(description="Measure speed and sizes; one subcommand for each question.")
    subcommands = parser.add_subcommands()
    functions = {function.__name__: function for function in (parameters, data, ops, train, decode, commits)}
    for name, function in functions.items():
        title = (function.__doc__ or "").splitlines()[0]
        subparser = OneLineErrors(description=(function.__doc__ or "").split("\n\n    Args:")[0])
        if function is parameters:  # jsonargparse would read a list from one argument
            subparser.add_argument("files", type=Path, nargs="+", help="model files, such as those in configs/model")
        else:
            subparser.add_function_arguments(function)
        subcommands.add_subcommand(name, subparser, help=title)
    config = parser.parse_args()
    with one_line_errors():
        functions[config.subcommand](**config[config.subcommand].as_dict())


if __name__ == "__main__":
    main()
