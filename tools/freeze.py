"""Freeze test sets: `python tools/freeze.py data/evaluation/*.yaml` writes the hashes of their test samples."""

from pathlib import Path

from jsonargparse import ArgumentParser
from rich.console import Console

from lit_retrieval import __version__
from lit_retrieval.data import TranscriptData
from lit_retrieval.data.suite import hash_samples

_BEGINNING = "suite:\n"


def main() -> None:
    """Freeze the files that the command line names."""
    parser = ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("files", type=Path, nargs="+", help="data configurations; frozen ones are not changed")
    parser.add_argument("--again", action="store_true", help="also freeze again those that are frozen")
    arguments = parser.parse_args()
    for file in arguments.files:
        text = file.read_text()
        if _BEGINNING in text and not arguments.again:
            Console().print(f"{file} is frozen already", soft_wrap=True)
        else:
            written = text.split(_BEGINNING)[0] + describe(file)
            file.write_text(written)
            Console().print(f"froze {file}", soft_wrap=True)


def describe(file: Path) -> str:
    """The `suite` of a data configuration, as YAML."""
    parser = ArgumentParser()
    parser.add_class_arguments(TranscriptData, "data")
    data = parser.instantiate(parser.parse_args(["--data", str(file), "--data.suite", "null"])).data
    lines = [_BEGINNING.strip(), f"  name: {file.stem}", f"  version: {__version__}", "  sha256:"]
    for regime in data.task.regimes:
        data.regime = regime
        lines.append(f"    {regime}: '{hash_samples(data.stream('test'), data.num_samples['test'])}'")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
