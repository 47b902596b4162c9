"""Draw the results of sweeps: `python tools/report.py sweeps/*/results.csv -o report`."""

from collections.abc import Sequence
from pathlib import Path

from reports.cells import find_cells
from reports.rows import read_paper, read_rows

from lit_retrieval.errors import UserError
from lit_retrieval.parsing import OneLineErrors, one_line_errors

_DPI = 150


def main() -> None:
    """Draw the files that the command line names."""
    parser = OneLineErrors(description="Draw the results of sweeps beside the paper's values.")
    parser.add_argument("results", type=Path, nargs="+", help="results.csv files of sweeps")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the figures and the table")
    arguments = parser.parse_args()
    with one_line_errors():
        print(*report(arguments.results, arguments.output), sep="\n")


def report(results: Sequence[Path], output: Path) -> list[str]:
    """Write every figure as PNG and PDF, and the tables; returns a line for each: its files, or why it is missing."""
    try:
        from matplotlib import rc_context
        from reports import bars, levels, lines, table
    except ImportError:
        raise UserError("matplotlib is not installed; pip install 'lit_retrieval[report]'") from None
    rows = read_rows(results)
    cells = find_cells(rows, read_paper())
    figures = {
        "figure2": (bars.draw_bars(cells, "2"), "no trial of a Transformer or Mamba on IsTree with one size"),
        "figure5": (bars.draw_bars(cells, "5"), "no trial of a hybrid on IsTree with one size"),
        "state_bits": (lines.draw_state_bits(rows), "no trial on a random-access code"),
        "lengths": (lines.draw_lengths(rows), "no model was scored on two sizes"),
        "distances": (lines.draw_distances(rows), "no task has query distances"),
        "curves": (lines.draw_curves(rows), "no curves.csv beside the results"),
    }
    output.mkdir(parents=True, exist_ok=True)
    told = []
    for name, (figure, reason) in figures.items():
        if figure is None:
            told.append(f"no {name}: {reason}")
            continue
        with rc_context({"pdf.fonttype": 42}):  # TrueType; publishers refuse Type 3
            for ending in ("png", "pdf"):
                figure.savefig(output / f"{name}.{ending}", dpi=_DPI)
        told.append(f"{output / name}.png and .pdf")
    (output / "table.md").write_text(table.markdown(cells))
    if scores := levels.markdown(rows):
        (output / "levels.md").write_text(scores)
        told.append(f"{output / 'levels.md'}: a score for each model, over tasks and their levels of difficulty")
    return [*told, f"{output / 'table.md'}: {len(cells)} cells of the paper's figures"]


if __name__ == "__main__":
    main()
