"""Draw the figures of docs/open_questions.md from committed rows: `python tools/open_questions.py`."""

from collections.abc import Callable
from pathlib import Path
from statistics import mean

import numpy as np
from figures.colors import Theme
from reports.measured import Panel, best_heads, lines_of, of_curve, of_point, of_sizes, of_test
from reports.rows import Row, read_rows

from lit_retrieval.errors import UserError
from lit_retrieval.parsing import OneLineErrors, one_line_errors
from lit_retrieval.tasks import MQAR

_FAULTS = {"nothing": "finds nothing", "wrong": "finds a wrong word"}
_MQAR_GUESS, _TREE_GUESS = 1 / 64, 1 / 2
RESULTS = Path(__file__).parents[1] / "data/results"


def main() -> None:
    """Draw the figures that the command line names."""
    parser = OneLineErrors(description="Draw what small sweeps say of questions that the paper left open.")
    parser.add_argument("names", nargs="*", help=f"figures: {', '.join(questions())}; all if absent")
    parser.add_argument(
        "-r", "--results", type=Path, default=RESULTS, help="folder with NAME/results.csv of each sweep; data/results"
    )
    arguments = parser.parse_args()
    with one_line_errors():
        if unknown := [name for name in arguments.names if name not in questions()]:
            raise UserError(f"the figures are {', '.join(questions())}, got {unknown[0]}")
        for name in arguments.names or questions():
            print(*draw(name, arguments.results))


def draw(name: str, results: Path) -> list[Path]:
    """Write a figure beside its rows, as NAME.png and for dark pages as NAME_dark.png; returns the files."""
    try:
        from figures.style import drawn_in, save
        from reports.panels import draw_panels
    except ImportError:
        raise UserError("matplotlib is not installed; pip install 'lit_retrieval[report]'") from None
    sweeps, make = questions()[name]
    rows = [read_rows([results / sweep / "results.csv"]) for sweep in sweeps]
    files = []
    themes: tuple[Theme, ...] = ("light", "dark")
    for theme in themes:
        with drawn_in(theme):
            files += save(draw_panels(make(*rows)), results / sweeps[0] / name, theme)
    return files


def questions() -> dict[str, tuple[tuple[str, ...], Callable[..., list[Panel]]]]:
    """For each figure its sweeps (it is written to the first one's folder) and the function that makes its panels."""
    return {
        "window": (("hybrid_window",), _window),
        "heads": (("hybrid_kept_heads",), _heads),
        "place": (("hybrid_place",), _place),
        "vertices": (("more_vertices",), _vertices),
        "faults": (("retriever_faults",), _faults),
    }


def _window(rows: list[Row]) -> list[Panel]:
    lines = lines_of(rows, {"small": "hybrid"}, of_point)
    task = MQAR(vocab_size=128, num_kv_pairs=16)
    distances = task.sample(0, np.arange(1000), np.full(1000, 64), "vanilla").distances
    windows = sorted({one.number for one in lines["hybrid"]})
    # The convolution carries a pair to the two tokens after it.
    reached = {window: float((distances <= window + 1).mean()) if window else 0.0 for window in windows}
    expected, names = ("pairs that the window reaches", reached), {0.0: "none", 64.0: "all"}
    return [Panel("MQAR, 16 pairs in 32 tokens", "window, in tokens", lines, _MQAR_GUESS, names, expected)]


def _heads(rows: list[Row]) -> list[Panel]:
    sets = {"the best of four heads": best_heads(rows, 4)}
    return [Panel("MQAR, trained with four heads", "heads that are kept", sets, _MQAR_GUESS)]


def _place(rows: list[Row]) -> list[Panel]:
    lines = lines_of(rows, {"small_1": "attention below a delta rule", "small_2": "above it"}, of_curve)
    return [Panel("MQAR, a convolution at the bottom", "thousand training samples", lines, _MQAR_GUESS)]


def _vertices(rows: list[Row]) -> list[Panel]:
    lines = lines_of(rows, {"mamba": "Mamba", "hybrid": "hybrid", "transformer": "Transformer"}, of_sizes)
    return [Panel("IsTree with searches, trained on 4 to 8 vertices", "vertices in the test", lines, _TREE_GUESS)]


def _faults(rows: list[Row]) -> list[Panel]:
    right = [measured for row in rows if not row.test for measured in of_test(row)]
    errs = {name: right + line for name, line in lines_of(rows, _FAULTS, of_test).items()}
    late = {name: right + line for name, line in lines_of(rows, {"late": "late index"}, of_test).items()}
    searches = mean(row.scores["searches"] for row in rows if not row.test)
    shares = {one.number: (1 + (1 - one.number) ** searches) / 2 for line in errs.values() for one in line}
    expected = (f"a guess after any fault in {searches:.0f} searches", dict(sorted(shares.items())))
    return [
        Panel("IsTree, a retriever that errs", "share of the searches", errs, _TREE_GUESS, expected=expected),
        Panel("IsTree, an index that is late", "newest tokens that it lacks", late, _TREE_GUESS),
    ]


if __name__ == "__main__":
    main()
