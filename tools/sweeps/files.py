"""The files of a sweep, written atomically."""

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from lit_retrieval.files import write_atomically


def trial_folder(sweep: Path, identity: str) -> Path:
    """The folder of a trial: `run/`, `log.txt`, `trial.json`, with SLURM `job.json`, and finally `result.json`."""
    return sweep / "trials" / identity


def read(path: Path) -> dict[str, Any] | None:
    """The content of a JSON file; None if there is none."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return content


def write(content: dict[str, Any], path: Path) -> None:
    """Write a JSON file atomically."""
    write_text(json.dumps(content, indent=2) + "\n", path)


def write_text(text: str, path: Path) -> None:
    """Write a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as file:
        file.write(text)


def commit(folder: Path | None = None) -> str:
    """The commit of a checkout, such as `abc1234`, or `abc1234-dirty-1a2b3c4` with a hash of uncommitted changes.

    The environment variable COMMIT overrides the commit of this checkout.
    """
    if folder is None and (told := os.environ.get("COMMIT")):
        return told
    try:
        said = _git(folder, "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*").decode().strip()
        if said.endswith("-dirty"):
            said += f"-{hashlib.sha256(_git(folder, 'diff', '--no-ext-diff', 'HEAD')).hexdigest()[:7]}"
    except FileNotFoundError:
        said = ""
    return said or "unknown"


def _git(folder: Path | None, *words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=folder or Path(__file__).parent, capture_output=True).stdout
