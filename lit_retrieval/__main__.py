"""python -m lit_retrieval, and the console script lit-retrieval."""

import os
import sys

# A waiting OpenMP thread yields its core instead of spinning: on two cores, 3% slower alone, and 1.4 times as fast with
# one other busy process (a training step of the quickstart). OpenMP reads this when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from lit_retrieval.cli import main


def script() -> None:
    """Run the command line; classes in the current folder can be imported, as with `python -m`."""
    sys.path.insert(0, os.getcwd())
    run()


def run() -> None:
    """Run the command line: `export`, or a command of the trainer."""
    if sys.argv[1:2] == ["export"]:
        from lit_retrieval import export

        export.main(sys.argv[2:])
    else:
        main()


if __name__ == "__main__":
    run()
