"""The tables of docs/known_results.md, against the rows that sweeps wrote."""

import csv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/known_results.md").read_text()
SWEEPS = [path.name for path in sorted((ROOT / "data/results").glob("known_*"))]


def line(row):
    """Point, seed, accuracy at 40 symbols if there is one, at the longest size with its interval, and more."""
    longest = max((name.split("/")[0] for name in row if name.startswith("size_")), key=lambda name: int(name[5:]))
    accuracy = [float(row[f"{longest}/closed_loop_accuracy{end}"]) for end in ("", "_low", "_high")]
    cells = [
        row["point"], row["seed"],
        *(f"{float(row[name]):.3f}" for name in ("size_40/closed_loop_accuracy",) if name in row),
        "{:.3f} ({:.3f} to {:.3f})".format(*accuracy), f"{float(row[f'{longest}/all_right']):.3f}",
        f"{int(row['parameters']):,}", f"{int(row['state_bits']):,}", row["commit"],
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("name", SWEEPS)
def test_every_trial_has_its_line_on_the_page(name):
    with (ROOT / f"data/results/{name}/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows and [line(row) for row in rows if line(row) not in PAGE] == []
