"""Run fla's own tests on a CPU with our functions: `python tools/fla_suite.py DIR`, where DIR is a checkout of fla.

Only tests are imported from the checkout; they run on the installed fla.
"""

import csv
import importlib
import io
import json
import os
import shlex
import sys
import tempfile
from collections import Counter
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import auto_cli
from rich.console import Console
from rich.table import Column, Table
from sweeps import files

from lit_retrieval.errors import UserError
from lit_retrieval.parsing import OneLineErrors, one_line_errors
from lit_retrieval.ranges import check_at_least

OUTCOMES = ("passed", "failed", "refused", "not covered", "stopped", "skipped")
MOST_SECONDS = 7200  # per file
FOLDERS = ("ops", "layers", "modules", "models")


class Tested(NamedTuple):
    """A test file, relative to the checkout, and the name, outcome and reason of each of its tests."""

    file: str
    tests: list[dict[str, str]]

    def counts(self) -> list[int]:
        """The number of tests with each outcome."""
        found = Counter(test["outcome"] for test in self.tests)
        return [found[outcome] for outcome in OUTCOMES]


def run(checkout: Path, only: str = "", out: Path | None = None, seconds: int = 25) -> None:
    """Run fla's tests at reduced sizes, file by file, and print how many pass.

    Args:
        checkout: Folder of fla's sources, which has the folder `tests`.
        only: Words, one of which must be in a file's path, such as "layers/ test_kda"; all files if empty.
        out: Folder for `files.csv`, the table, and `cases.csv`, the tests that did not pass with the reasons. Rows of
            files that are not run are kept.
        seconds: Maximum processor time of a test in seconds; a file may take two hours.
    """
    check_at_least("seconds", seconds, 1, "--seconds")
    found, rows = test_files(checkout, only), list[Tested]()
    importlib.import_module("fla")  # once for all files
    for file in found:
        rows.append(Tested(file, outcomes_of(checkout / file, seconds)))
        print(*rows[-1][:1], dict(zip(OUTCOMES, rows[-1].counts(), strict=True)), file=sys.stderr)
        if out is not None:
            write(rows[-1], out, checkout)
    Console(width=120).print(table([*rows, Tested("all", [test for row in rows for test in row.tests])]))


def test_files(checkout: Path, only: str) -> list[str]:
    """The test files, relative to the checkout.

    Raises:
        UserError: If there are none.
    """
    found = [
        path.relative_to(checkout).as_posix()
        for folder in FOLDERS
        for path in sorted((checkout / "tests" / folder).rglob("test_*.py"))
    ]
    found = [path for path in found if not only or any(word in path for word in only.split())]
    if not found:
        raise UserError(f"{checkout}/tests must have test files, got none; name a checkout of fla, and other files")
    return found


def outcomes_of(file: Path, seconds: int) -> list[dict[str, str]]:
    """The name, outcome and reason of each test in a file."""
    with tempfile.TemporaryDirectory() as folder:
        outcomes = Path(folder) / "outcomes.jsonl"
        outcomes.touch()
        child = get_context("fork").Process(target=run_pytest, args=(file.resolve(), outcomes, seconds))
        child.start()
        child.join(MOST_SECONDS)
        child.kill()
        return [json.loads(line) for line in outcomes.read_text().splitlines()]


def run_pytest(file: Path, outcomes: Path, seconds: int) -> None:
    """Run a file's tests in this process, which was forked after fla was imported."""
    import pytest
    from fla_suites import plugin

    os.chdir(outcomes.parent)
    sys.dont_write_bytecode = True
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    options = ["-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", file.parent]
    chosen = ["--outcomes", outcomes, "--seconds", seconds, file]
    pytest.main(list(map(str, [*options, *chosen])), plugins=[plugin])


def table(rows: list[Tested]) -> Table:
    """The number of tests with each outcome, by file."""
    found = Table(Column("file", no_wrap=True), *OUTCOMES)
    for row in rows:
        found.add_row(row.file, *map(str, row.counts()))
    return found


def write(row: Tested, out: Path, checkout: Path) -> None:
    """Write a file's row, with the command and both commits, and its tests that did not pass."""
    command = f"python tools/fla_suite.py {shlex.join(sys.argv[1:])}"
    origin = [files.commit(checkout), version("fla-core"), files.commit(), command]
    line = dict(
        zip(["file", *OUTCOMES, "tests", "fla", "commit", "command"], [row.file, *row.counts(), *origin], strict=True)
    )
    _replace(out / "files.csv", row.file, [line])
    cases = [{"file": row.file, **test} for test in row.tests if test["outcome"] not in ("passed", "skipped")]
    _replace(out / "cases.csv", row.file, cases)


def _replace(path: Path, file: str, lines: list[dict[str, Any]]) -> None:
    """Replace the lines of a test file in a CSV file."""
    old = list(csv.DictReader(path.open(newline=""))) if path.exists() else []
    rows = sorted([*(one for one in old if one["file"] != file), *lines], key=lambda one: one["file"])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n") if rows else None
    if writer is not None:
        writer.writeheader()
        writer.writerows(rows)
    files.write_text(text.getvalue(), path)


if __name__ == "__main__":
    with one_line_errors():
        auto_cli(run, as_positional=True, parser_class=OneLineErrors)
