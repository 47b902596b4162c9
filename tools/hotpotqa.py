"""HotpotQA as in the paper's Figure 6: `python tools/hotpotqa.py keep runs/A runs/B > kept.txt`, then `draw`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from figures.colors import Theme
from hotpot.answers import Answer, check_same_questions, join, kept, read_answers
from reports.rows import read_paper

from lit_retrieval.errors import UserError
from lit_retrieval.parsing import OneLineErrors, one_line_errors


def main() -> None:
    """Run the subcommand that the command line names."""
    config: Any = _parser().parse_args()
    with one_line_errors():
        if config.subcommand == "keep":
            print(*kept({path: read_answers(path) for path in config.keep.runs}), sep="\n")
        else:
            print(draw(config.draw.runs, config.draw.output, config.draw.dark))


def draw(runs: Sequence[str], output: Path, dark: bool = False) -> str:
    """Write Figure 6 with the curves of these runs beside the paper's; returns its numbers as a table in Markdown.

    Args:
        runs: FOLDER or LABEL=FOLDER of each test; tests with the same label form one curve.
        output: The .png file to write; a .pdf file is written beside it.
        dark: Whether to write NAME_dark.png for dark pages, too.
    """
    try:
        from figures import style
    except ImportError:
        raise UserError("matplotlib is not installed; pip install 'lit_retrieval[report]'") from None
    from hotpot import figure

    if output.suffix != ".png":
        raise UserError(f"output must be a .png file, got {output}; set --output")
    parts: dict[str, list[tuple[Path, list[Answer]]]] = {}
    for run in runs:
        label, _, folder = run.rpartition("=")
        parts.setdefault(label or Path(folder).name, []).append((Path(folder), read_answers(Path(folder))))
    curves = {label: join(tests, label) for label, tests in parts.items()}
    check_same_questions(curves)
    output.parent.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    themes: tuple[Theme, ...] = ("light", "dark") if dark else ("light",)
    for theme in themes:
        with style.drawn_in(theme):
            files += style.save(figure.draw(curves, read_paper(figures=("6",))), output.with_suffix(""), theme)
    return f"{figure.markdown(curves)}\n\n{' '.join(map(str, files))}: {len(curves)} curves beside the paper's three"


def _parser() -> OneLineErrors:
    parser = OneLineErrors(description="The paper's study of HotpotQA, from the answers.jsonl of tests.")
    keep = OneLineErrors(
        description="Print the ids, one a line, of the questions that all runs have right at n = 2: the paper compares "
        "models on these. Give the file to the tests in --data.task.init_args.only."
    )
    keep.add_argument("runs", type=Path, nargs="+", help="folder of a test at n = 2, or its answers.jsonl")
    figure = OneLineErrors(
        description="Draw exact match over the number of paragraphs in both orders, with 95% intervals, beside the "
        "paper's curves, and print a table with paired intervals of the differences from the first curve."
    )
    figure.add_argument(
        "runs", type=str, nargs="+", help="folder of a test, or its answers.jsonl, with a label as in LABEL=FOLDER; "
        "those with one label are one curve, and the folder's name is the label if absent",
    )  # fmt: skip
    figure.add_argument(
        "-o", "--output", type=Path, default=Path("figure6.png"), help="image to write, with a .pdf beside it"
    )
    figure.add_argument("--dark", action="store_true", help="also draw it for a dark page, as NAME_dark.png")
    commands = parser.add_subcommands()
    commands.add_subcommand("keep", keep, help="print the questions that all runs have right at n = 2")
    commands.add_subcommand("draw", figure, help="draw Figure 6 beside the paper's curves, and print a table")
    return parser


if __name__ == "__main__":
    main()
