"""Scripts of bash, run with functions in place of programs: what a script would start, and nothing is started."""

import shlex
import subprocess
from collections.abc import Iterable
from pathlib import Path

# Names that a script may start; each writes its name and arguments to descriptor 3.
PROGRAMS = (
    "bash", "docker", "git", "jupyter", "lit-retrieval", "lm_eval", "mkdocs", "mypy", "pip", "pre-commit", "python",
    "python3", "ray", "ruff", "scontrol", "tensorboard",
)  # fmt: skip
_FUNCTIONS = """
for name in {programs}; do eval "$name() {{ printf '%s\\n' $name\\ \\"\\${{*@Q}}\\" >&3; }}"; done
srun() {{ "$@"; }}
cd() {{ :; }}
exec 3>&1 >/dev/null
"""


def commands(scripts: Iterable[str], folder: Path) -> list[list[str]]:
    """The commands of scripts, in order, as bash would start them in a folder, each once.

    Raises `ValueError` where bash has an error, such as a program that is not among `PROGRAMS`.
    """
    (folder / ".venv/bin").mkdir(parents=True, exist_ok=True)
    (folder / ".venv/bin/activate").touch()
    parts = [_FUNCTIONS.format(programs=" ".join(PROGRAMS)), *(f"(\n{script}\n)\n" for script in scripts)]
    ran = subprocess.run(["bash"], input="".join(parts), cwd=folder, capture_output=True, text=True)
    if ran.stderr:
        raise ValueError(ran.stderr)
    return [shlex.split(line) for line in dict.fromkeys(ran.stdout.splitlines())]
