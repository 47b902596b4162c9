"""Draw the results of sweeps: `python tools/report.py sweeps/*/results.csv -o report`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from figures.colors import Theme
from reports.cells import Cell, find_cells
from reports.rows import Row, read_paper, read_rows

from lit_retrieval.errors import UserError
from lit_retrieval.parsing import OneLineErrors, one_line_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def main() -> None:
    """Draw the files that the command line names."""
    parser = OneLineErrors(description="Draw the results of sweeps beside the paper's values.")
    parser.add_argument("results", type=Path, nargs="+", help="results.csv files of sweeps")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the figures and the table")
    parser.add_argument("--dark", action="store_true", help="each figure also for a dark page, as NAME_dark.png")
    arguments = parser.parse_args()
    with one_line_errors():
        print(*report(arguments.results, arguments.output, arguments.dark), sep="\n")


def report(results: Sequence[Path], output: Path, dark: bool = False) -> list[str]:
    """Write all figures (PNG and PDF) and tables; returns a line for each: its files, or why it is missing."""
    try:
        from figures import style
    except ImportError:
        raise UserError("matplotlib is not installed; pip install 'lit_retrieval[report]'") from None
    from reports import levels, table

    rows = [row for row in read_rows(results) if not row.test]  # others vary the test, not the model
    cells = find_cells(rows, read_paper())
    output.mkdir(parents=True, exist_ok=True)
    told: dict[str, list[str]] = {}
    themes: tuple[Theme, ...] = ("light", "dark") if dark else ("light",)
    for theme in themes:
        with style.drawn_in(theme):
            for name, (figure, reason) in _draw(rows, cells).items():
                files = [] if figure is None else style.save(figure, output / name, theme)
                told.setdefault(name, [] if files else [f"no {name}: {reason}"]).extend(map(str, files))
    (output / "table.md").write_text(table.markdown(cells))
    lines = [" ".join(files) for files in told.values()]
    if scores := levels.markdown(rows):
        (output / "levels.md").write_text(scores)
        lines.append(f"{output / 'levels.md'}: a score for each model, over tasks and their levels of difficulty")
    return [*lines, f"{output / 'table.md'}: {len(cells)} cells of the paper's figures"]


def _draw(rows: Sequence[Row], cells: Sequence[Cell]) -> dict[str, tuple["Figure | None", str]]:
    """The figures by name; a missing one is None with a reason."""
    from reports import bars, lines

    return {
        "figure2": (bars.draw_bars(cells, "2"), "no trial of a Transformer or Mamba on IsTree with one size"),
        "figure5": (bars.draw_bars(cells, "5"), "no trial of a hybrid on IsTree with one size"),
        "state_bits": (lines.draw_state_bits(rows), "no trial on a random-access code"),
        "lengths": (lines.draw_lengths(rows), "no model was scored on two sizes"),
        "distances": (lines.draw_distances(rows), "no task has query distances"),
        "curves": (lines.draw_curves(rows), "no curves.csv beside the results"),
    }


if __name__ == "__main__":
    main()
