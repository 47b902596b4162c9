"""Compare recurrences at equal parameters and state: `python tools/compare.py my_package.MyRecurrence`.

Each layer is trained on all suites of a protocol with all its learning rates and seeds, and gets rows in NAME.csv.
After any interruption start the same command again: finished trainings are skipped, and the others resume.
"""

import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from comparisons import differ, page, publish, rows, verify
from comparisons.cells import Point, failure, find_points, grid, identity, is_over, refusal, trials_of
from comparisons.layers import KNOWN, Layer, find_layers, read_known
from comparisons.protocol import Protocol, find_protocol, read_protocol
from comparisons.settings import build
from comparisons.speed import WORDS, speed_ratios
from comparisons.summary import show
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from sweeps import files
from sweeps.folder import alone, check_commits, check_tests
from sweeps.grid import Trial
from sweeps.runners import check_slots, run_here, run_on_ray

from lit_retrieval.cli.endings import ending
from lit_retrieval.errors import RunEndedError, UserError
from lit_retrieval.parsing import OneLineErrors, one_line_errors

_EVERY = 2.0  # seconds
_ROUNDS = 5  # timed turns of a layer and the reference

Runner = Callable[..., None]
_Command = Callable[[Sequence[str]], int | None]


def main() -> None:
    """Run the command that the command line names: a comparison, or one of `_COMMANDS`."""
    words = sys.argv[1:]
    command: _Command = _COMMANDS.get(words[0], _compare) if words else _compare
    sys.path.insert(0, str(Path.cwd()))  # a layer may be a file there, as for `python -m`
    with one_line_errors():
        try:
            status = command(words[command is not _compare :])
        except (RunEndedError, OSError) as error:
            if (known := ending(error)) is None:
                raise
            line, status = known
            print(line, file=sys.stderr)
    if status is not None:
        sys.exit(status)


def _compare(words: Sequence[str]) -> int | None:
    parser = OneLineErrors(
        description="Compare layers at equal parameters and state; finished trainings are skipped. Of the rows, `page` "
        "makes a page, `differ` compares two, `verify` runs some again, and `publish` writes them to data and docs."
    )
    parser.add_argument(
        "layers", nargs="+", help="classes such as my_package.MyRecurrence, which may be a file of the working "
        "directory, names in configs/compare/recurrences.yaml, or all"
    )  # fmt: skip
    parser.add_argument("--init_args", help="arguments of a single class, as YAML: '{num_heads: 2}'")
    parser.add_argument("--protocol", default="laptop", help="laptop, lab, full, or a file such as these")
    parser.add_argument("-o", "--output", type=Path, help="folder of the comparison; if absent, compare/PROTOCOL")
    parser.add_argument("--on", choices=["here", "ray"], default="here", help="processes of this machine, or Ray")
    parser.add_argument("--slots", type=int, help="trainings at a time with --on here; 1 if absent")
    parser.add_argument("--any_commit", action="store_true", help="resume trainings that another commit started")
    parser.add_argument("--again", action="store_true", help="run trainings again that diverged or were refused")
    arguments = parser.parse_args(words)
    check_slots(arguments.slots, arguments.on)
    if arguments.on == "ray" and find_spec("ray") is None:
        raise UserError("Ray is not installed; pip install 'lit_retrieval[sweep]', or use --on here")
    protocol = read_protocol(find_protocol(arguments.protocol))
    if protocol.reference not in read_known():
        raise UserError(f"reference must be a name in {KNOWN}, got {protocol.reference}; set it in the protocol")
    output = (arguments.output or Path("compare") / protocol.identity).absolute()
    runner = partial(run_here, slots=arguments.slots or 1) if arguments.on == "here" else run_on_ray
    layers = find_layers(arguments.layers, arguments.init_args)
    with alone(output):
        has_all = Comparison(protocol, output, runner, arguments.any_commit, arguments.again).run(layers)
    return None if has_all else 1


class Comparison:
    """A comparison in a folder.

    Args:
        protocol: The protocol, which fixes suites, budgets and seeds.
        output: The folder. It has `trials/` as in a sweep, `layers/` with the arguments and speed of each layer, and
            the rows of all layers in `NAME.csv` and `NAME.samples.csv`.
        runner: Runs trials.
        any_commit: Whether to resume trials of another commit.
        again: Whether to rerun trials that diverged or were refused; crashed trials are always rerun.
    """

    def __init__(self, protocol: Protocol, output: Path, runner: Runner, any_commit: bool, again: bool) -> None:
        self.protocol = protocol
        self.output = output
        self.runner = runner
        self.any_commit = any_commit
        self.again = again
        self.suites = {name: protocol.suite(name) for name in protocol.suites}
        self.commit = files.commit()

    def run(self, layers: Sequence[Layer]) -> bool:
        """Train and test all layers, one after another, and write their rows; returns whether each has a score."""
        self._check_protocol()
        for layer in layers:
            self._check_name(layer)
        each = len(self.protocol.suites) * len(self.protocol.learning_rates) * len(self.protocol.seeds)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        with Progress(*columns, speed_estimate_period=3600) as progress:
            bar = progress.add_task("", total=each * len(layers))
            for layer in layers:
                progress.update(bar, description=layer.name)
                self._run_layer(layer, progress, bar, each)
                self._write()
        return self._tell(layers)

    def folder(self, layer: Layer) -> Path:
        """The folder of a layer's points, speed and rows."""
        return self.output / "layers" / re.sub(r"[^\w.=-]+", "_", layer.name)

    def _check_name(self, layer: Layer) -> None:
        """Raise `UserError` if the folder has another layer of this name, whose rows would be lost."""
        kept = files.read(self.folder(layer) / "points.json")
        if kept is not None and (there := kept["asked"]["layer"][0]) != layer.class_path:
            raise UserError(
                f"{layer.name} is {there} in {self.output}, not {layer.class_path}; rename the class, or set another "
                "folder in --output"
            )

    def _check_protocol(self) -> None:
        """Raise `UserError` if the folder has rows of another protocol, which can't be in the same table."""
        for path in sorted(self.output.glob("layers/*/rows.csv")):
            (row, *_), _ = rows.read([path])
            if row["protocol"] != self.protocol.identity:
                raise UserError(
                    f"{self.output} must have rows of {self.protocol.identity} alone, got {row['protocol']} in {path}; "
                    "set another folder in --output"
                )

    def _run_layer(self, layer: Layer, progress: Progress, bar: TaskID, expected: int) -> None:
        folder, begun = self.folder(layer), progress.tasks[bar].completed
        try:
            points = find_points(layer, self.protocol, folder)
            trials = trials_of(layer, points, self.protocol)
        except UserError as error:
            progress.update(bar, completed=begun + expected)
            self._write_layer(folder, rows.refused_rows(layer, self.protocol, self.suites, refusal(error)), [])
            return
        chosen = [trial for own in trials for trial in own]
        progress.update(bar, total=(progress.tasks[bar].total or 0) + len(chosen) - expected)
        waiting = [trial for trial in chosen if not is_over(trial, self.output, self.again)]
        if not self.any_commit:
            check_commits(waiting, self.output, self.commit)
        check_tests(chosen, self.output)
        with _counting(chosen, self.output, progress, bar, begun):
            if waiting:
                self.runner(waiting, grid(layer, points[0], self.protocol), self.output, self.commit)
        found = [
            rows.rows_of_point(layer, point, self.protocol, self.suites, own, self.output, speed)
            for point, own, speed in zip(points, trials, self._speeds(layer, points, chosen), strict=True)
        ]
        self._write_layer(folder, *([row for parts in found for row in parts[place]] for place in range(2)))

    def _speeds(self, layer: Layer, points: Sequence[Point], chosen: Sequence[Trial]) -> list[dict[str, str]]:
        """The speed of each point relative to the reference, measured once; none if all trainings have failed."""
        if all(failure(trial, self.output) for trial in chosen):
            return [{} for _ in points]
        path, asked = self.folder(layer) / "speed.json", identity(layer, self.protocol)
        if (kept := files.read(path)) is None or kept.get("asked") != asked:
            of_reference = read_known()[self.protocol.reference]
            (point, *_) = find_points(of_reference, self.protocol, self.folder(of_reference))
            reference = build(of_reference, point.setting, self.protocol.shape, WORDS)
            length, accelerator = self.protocol.shape.length, chosen[0].configuration["trainer"]["accelerator"]
            speeds = [
                speed_ratios(
                    build(layer, one.setting, self.protocol.shape, WORDS), reference, length, _ROUNDS, accelerator
                )
                for one in points
            ]
            kept = {"asked": asked, "reference": self.protocol.reference, "speeds": speeds}
            files.write(kept, path)
        return list(kept["speeds"])

    def _write_layer(self, folder: Path, found: list[dict[str, Any]], samples: list[dict[str, Any]]) -> None:
        rows.write(samples, rows.OF_SAMPLES, rows.samples_file(folder / "rows.csv"))
        rows.write(found, rows.COLUMNS, folder / "rows.csv")

    def _write(self) -> None:
        """Write the rows of all layers."""
        found, samples = rows.read(sorted(self.output.glob("layers/*/rows.csv")))
        rows.write(samples, rows.OF_SAMPLES, rows.samples_file(self.rows_file))
        rows.write(found, rows.COLUMNS, self.rows_file)

    @property
    def rows_file(self) -> Path:
        """The file with the rows of all layers."""
        return self.output / f"{self.protocol.name}.csv"

    def _tell(self, layers: Sequence[Layer]) -> bool:
        """Print the table; returns whether each layer has a score."""
        found, _ = rows.read([self.rows_file])
        names = {layer.name for layer in layers}
        show(found, names)
        print(f"rows: {self.rows_file}\npage: python tools/compare.py page {self.rows_file} -o compare.html")
        return names <= {row["recurrence"] for row in found if row["accuracy"]}


@contextmanager
def _counting(chosen: Sequence[Trial], folder: Path, progress: Progress, bar: TaskID, begun: float) -> Iterator[None]:
    """A block in which a progress bar counts the trials that are over."""
    over = threading.Event()

    def count() -> None:
        while True:
            is_last = over.wait(_EVERY)
            progress.update(bar, completed=begun + sum(is_over(trial, folder) for trial in chosen))
            if is_last:
                return

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


_COMMANDS: dict[str, _Command] = {
    "page": page.main, "publish": publish.main, "verify": verify.main, "differ": differ.main,
}  # fmt: skip

if __name__ == "__main__":
    main()
