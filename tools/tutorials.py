"""Runs the tutorials, docs/tutorials/*.py, and writes them with their outputs as notebooks beside these files.

python tools/tutorials.py               runs all at full size; names choose some: first_hour
python tools/tutorials.py --text        updates changed text without running, if the code has not changed
python tools/tutorials.py --small       runs all in a few steps without writing notebooks, as in CI
"""

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pages.notebooks import FOLDER, from_source

from lit_retrieval.errors import UserError
from lit_retrieval.parsing import OneLineErrors, one_line_errors

SMALL = "TUTORIAL_SMALL"  # a variable of the environment, which the first cell of each tutorial reads
_MOST_SECONDS = 6 * 3600  # for a cell


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; a cell that fails ends it with the cell and the error."""
    names = sorted(path.stem for path in FOLDER.glob("*.py"))
    parser = OneLineErrors(description="Run the tutorials and keep their outputs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(names)}; all if absent")
    parser.add_argument("--small", action="store_true", help="run a few steps of each, and keep nothing")
    parser.add_argument("--text", action="store_true", help="take over changed text, and run nothing")
    parser.add_argument("--folder", type=Path, help="where they run and write; a temporary folder if absent")
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - set(names):
        parser.error(f"a tutorial must be one of {', '.join(names)}, got {', '.join(sorted(unknown))}")
    for name in given.names or names:
        notebook, kept = from_source((FOLDER / f"{name}.py").read_text()), FOLDER / f"{name}.ipynb"
        with one_line_errors(), tempfile.TemporaryDirectory() as temporary:
            if given.text:
                done = with_outputs(notebook, json.loads(kept.read_text()))
            else:
                done = run(notebook, given.folder or Path(temporary), given.small)
        if not given.small:
            kept.write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n")
        print(f"{name}: {len(done['cells'])} cells", flush=True)


def with_outputs(notebook: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    """A notebook with the outputs of the existing one; raises `UserError` if the code differs."""
    code, was_run = ([cell for cell in one["cells"] if cell["cell_type"] == "code"] for one in (notebook, kept))
    if [cell["source"] for cell in code] != [cell["source"] for cell in was_run]:
        raise UserError("the code of a tutorial must be that which was run; leave out --text")
    for cell, ran in zip(code, was_run, strict=True):
        cell |= {"outputs": ran["outputs"], "execution_count": ran["execution_count"]}
    return notebook


def run(notebook: dict[str, Any], folder: Path, is_small: bool) -> dict[str, Any]:
    """Run a notebook in `folder`; returns it with its outputs, or raises nbclient's error if a cell fails."""
    import nbformat
    from nbclient import NotebookClient

    os.environ.pop(SMALL, None)
    os.environ |= {SMALL: "1"} if is_small else {}
    os.environ["TTY_INTERACTIVE"] = "0"  # no animations of rich
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    node: Any = nbformat.reads(json.dumps(notebook), as_version=4)
    client = NotebookClient(
        node, timeout=_MOST_SECONDS, record_timing=False, coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )  # fmt: skip
    done: dict[str, Any] = json.loads(nbformat.writes(client.execute()))
    for cell in done["cells"]:
        if cell["cell_type"] == "code":  # messages of libraries are left out
            cell["outputs"] = [output for output in cell["outputs"] if output.get("name") != "stderr"]
    return {**done, "metadata": notebook["metadata"]}  # without the version of Python that ran it


if __name__ == "__main__":
    main()
