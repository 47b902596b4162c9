"""Publishes rows, their page and picture: `python tools/compare.py publish compare/laptop-1-*/laptop.csv`."""

from collections.abc import Sequence
from pathlib import Path

from figures.colors import Theme
from sweeps import files

from comparisons import frontier, page, rows, submitted
from lit_retrieval.errors import UserError
from lit_retrieval.parsing import OneLineErrors

ROOT = Path(__file__).parents[2]
THEMES: dict[Theme, str] = {"light": "", "dark": "_dark"}


def main(words: Sequence[str]) -> None:
    """Replace a protocol's published rows in the checkout."""
    parser = OneLineErrors(
        description="Write rows and the picture of accuracy against bits of state to data/results/compare, and their "
        "page to docs/compare."
    )
    parser.add_argument("rows", type=Path, nargs="+", help="CSV files of one protocol, with all layers of the table "
                        "that is there; of equal rows the first with an accuracy counts")  # fmt: skip
    parser.add_argument("--protocol", help="the protocol's file; if absent, the one in configs/compare")
    parser.add_argument("-o", "--output", type=Path, default=ROOT, help="the checkout; this one if absent")
    arguments = parser.parse_args(words)
    for path in publish(submitted.read(arguments.rows, arguments.protocol), arguments.output):
        print(f"{path}: {path.stat().st_size / 1000:,.0f} kB")


def publish(found: submitted.Submitted, checkout: Path) -> list[Path]:
    """Write the files of some rows; returns their paths.

    Raises `UserError` if a layer in the published table is not among the rows.
    """
    name = found.protocol.name
    table = checkout / f"data/results/compare/{name}.csv"
    there = rows.read([table])[0] if table.is_file() else []
    there = [row for row in there if row["protocol"] == found.protocol.identity]  # another version begins a new table
    if lost := {row["recurrence"] for row in there} - {row["recurrence"] for row in found.rows}:
        raise UserError(
            f"the rows must have all layers of {table}, got none of {', '.join(sorted(lost))}; name {table} too, or "
            "remove it"
        )
    rows.write(found.rows, rows.COLUMNS, table)
    rows.write(found.samples, rows.OF_SAMPLES, rows.samples_file(table))
    texts = {checkout / f"docs/compare/{name}.html": page.html(*found)}
    if panels := page.plots(found.rows, found.protocol):
        texts |= {table.with_name(f"{name}{end}.svg"): frontier.picture(panels, theme) for theme, end in THEMES.items()}
    for path, text in texts.items():
        files.write_text(text, path)
    return [table, rows.samples_file(table), *texts]
