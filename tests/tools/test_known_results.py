"""The tables of docs/known_results.md, against the rows that sweeps wrote."""

import csv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/known_results.md").read_text()
SWEEPS = [path.name for path in sorted((ROOT / "data/results").glob("known_*"))]


def line(row):
    """Point, seed, accuracy at the shortest and at the longest size with its interval, all answers right, and more."""
    sizes = sorted(int(name.split("/")[0].removeprefix("size_")) for name in row if name.startswith("size_") and name.endswith("all_right_low"))
    shortest, *_, longest = [f"size_{size}/" for size in (sizes[0], *sizes)]
    accuracy = [float(row[f"{longest}closed_loop_accuracy{end}"]) for end in ("", "_low", "_high")]
    cells = [
        row["point"], row["seed"],
        *([f"{float(row[shortest + 'closed_loop_accuracy']):.3f}"] if shortest != longest else []),
        "{:.3f} ({:.3f} to {:.3f})".format(*accuracy), f"{float(row[longest + 'all_right']):.3f}",
        f"{int(row['parameters']):,}", f"{int(row['state_bits']):,}", row["commit"],
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("name", SWEEPS)
def test_every_trial_has_its_line_on_the_page(name):
    with (ROOT / f"data/results/{name}/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows and [line(row) for row in rows if line(row) not in PAGE] == []
