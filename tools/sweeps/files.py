"""The files of a sweep, written atomically."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from lit_retrieval.files import write_atomically


def trial_folder(sweep: Path, identity: str) -> Path:
    """The folder of a trial, with `run/`, `log.txt`, `trial.json` and, when it is finished, `result.json`."""
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
    """The commit of a checkout, with `-dirty` where files have changed; COMMIT of the environment is that of ours."""
    if folder is None and (told := os.environ.get("COMMIT")):
        return told
    command = ["git", "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"]
    try:
        said = subprocess.run(
            command, cwd=folder or Path(__file__).parent, capture_output=True, text=True
        ).stdout.strip()
    except FileNotFoundError:
        said = ""
    return said or "unknown"
