"""Freeze test sets: `python tools/freeze.py data/evaluation/*.yaml` writes the hashes of their test samples."""

import re
from pathlib import Path

from lit_retrieval import __version__
from lit_retrieval.data import TranscriptData
from lit_retrieval.data.suite import hash_samples
from lit_retrieval.files import write_atomically
from lit_retrieval.parsing import OneLineErrors, one_line_errors

_SUITE = re.compile(r"^suite:.*\n(?:[ \t].*\n)*", re.MULTILINE)


def main() -> None:
    """Freeze the files that the command line names."""
    parser = OneLineErrors(description="Freeze test sets: write the hashes of their test samples.")
    parser.add_argument("files", type=Path, nargs="+", help="data configurations; frozen ones are not changed")
    parser.add_argument("--again", action="store_true", help="also freeze again those that are frozen")
    arguments = parser.parse_args()
    with one_line_errors():
        for file in arguments.files:
            print(f"froze {file}" if freeze(file, arguments.again) else f"{file} is frozen already")


def freeze(file: Path, again: bool) -> bool:
    """Write the hashes into a data configuration; returns False if it was frozen already."""
    text = file.read_text().rstrip("\n") + "\n"
    if _SUITE.search(text) and not again:
        return False
    described = describe(file)
    with write_atomically(file) as written:
        written.write(_SUITE.sub("", text) + described)
    return True


def describe(file: Path) -> str:
    """The `suite` of a data configuration, as YAML."""
    parser = OneLineErrors()
    parser.add_class_arguments(TranscriptData, "data")
    data = parser.instantiate(parser.parse_args(["--data", str(file), "--data.suite", "null"])).data
    lines = ["suite:", f"  name: {file.stem}", f"  version: {__version__}", "  sha256:"]
    for regime in data.task.regimes:
        data.regime = regime
        lines.append(f"    {regime}: '{hash_samples(data.stream('test'), data.num_samples['test'])}'")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
