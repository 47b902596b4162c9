"""python -m lit_retrieval.tasks: writes, shows and checks samples without the trainer."""

import json
import re
import signal
import sys
from argparse import SUPPRESS
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import repeat
from pathlib import Path
from typing import Any, Literal, NoReturn, cast, get_args

import numpy as np
from rich.console import Console
from rich.progress import track

from lit_retrieval.conformance import path_of, print_report
from lit_retrieval.errors import UserError
from lit_retrieval.numba_cache import announce_compilation
from lit_retrieval.parsing import OneLineErrors, Replace, fail, limit_imports, put_first, replace_whole
from lit_retrieval.ranges import check_at_least
from lit_retrieval.tasks.checks import report
from lit_retrieval.tasks.imported import Imported, read_arrays
from lit_retrieval.tasks.lm_eval_form import save_lm_eval
from lit_retrieval.tasks.random import derive_seed
from lit_retrieval.tasks.sample_file import Form, describe, load_samples, save_samples
from lit_retrieval.tasks.sample_stream import SampleStream, Split
from lit_retrieval.tasks.sizes import SizeSpec, find_size
from lit_retrieval.tasks.task import Regime, Task, Transcripts, check_words
from lit_retrieval.tasks.text_form import check_text_regime, save_text

_CHUNK = 1024  # samples written between two steps of the progress bar
_MOST_SHOTS = 64  # solved problems in a folder for lm_eval
_asked: list[int] = []  # the signals that ask the command to stop


TextForm = Literal["text", "lm_eval"]


def write(
    task: Task,
    output: Path,
    regime: Regime | None = None,
    sizes: SizeSpec | None = None,
    samples: int = 10_000,
    seed: int = 0,
    split: Split = "fit",
    form: Literal[Form, TextForm] = "ids",
    shots: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write samples to a file, with a manifest beside it: those that the trainer draws with these arguments.

    Args:
        task: The task: a class of lit_retrieval.tasks, or your own.
        output: A .npz file of flat arrays, or a .jsonl file with an object for each sample; a new folder for lm_eval.
        regime: vanilla (the answer alone), cot (a written algorithm first) or retrieval (searches in the context);
            retrieval if absent, or the task's last regime, and vanilla for text and lm_eval.
        sizes: Sizes of the problems: [8, 16], or {8: 3, 16: 1} with weights, or 4..8, or 8..64..8 with a step; if
            absent, 16, or another that the task has.
        samples: Number of samples.
        seed: Seed of the sample streams.
        split: One of the trainer's sample streams: fit, validate, test or predict.
        form: Tokens in .jsonl: ids or words; or text, few-shot prompts for a language model in .jsonl; or lm_eval, a
            folder with a task for lm-evaluation-harness.
        shots: Solved problems before each problem, in text and lm_eval; 4 if absent.
        overwrite: Replace an existing file.
    """
    check_at_least("samples", samples, 1, "--samples")
    is_text = form in get_args(TextForm)
    if shots is not None and not is_text:
        raise UserError(f"shots are for the forms text and lm_eval, got form {form}; leave out --shots, or set --form")
    shots = 4 if shots is None else shots
    regime, sizes = regime or ("vanilla" if is_text else _regime(task)), _or_found(sizes, task, 16)
    stream = SampleStream(task, regime, sizes, seed, split)
    task.check_request(stream.sizes.values, regime)
    drawn = {"task": describe(task), "regime": regime, "sizes": sizes, "seed": seed, "split": split}
    if is_text:
        _write_text(output, stream, samples, cast(TextForm, form), shots, {**drawn, "shots": shots}, overwrite)
        return
    batches = _take(stream, samples, "Writing")
    manifest = save_samples(output, task.vocabulary, batches, drawn, cast(Form, form), overwrite)
    Console().print(f"{output}: {samples:,} samples, sha256 {manifest['sha256']}", soft_wrap=True)


def _write_text(
    output: Path, stream: SampleStream, samples: int, form: TextForm, shots: int, drawn: dict[str, Any], overwrite: bool
) -> None:
    """Write prompts in text; the solved problems in them come from a stream of their own."""
    check_at_least("shots", shots, 0, "--shots")
    check_words(stream.task, f"the form {form}, which puts words into sentences,")
    check_text_regime(stream.regime)
    others = SampleStream(
        stream.task, stream.regime, drawn["sizes"], derive_seed(drawn["seed"], "shots"), drawn["split"]
    )
    if form == "lm_eval":
        shown = others.take(np.arange(max(shots, _MOST_SHOTS)))
        save_lm_eval(output, stream.task, _take(stream, samples, "Writing"), shown, drawn, overwrite)
        print(
            f"{output}: {samples:,} problems; lm_eval --tasks {output.name} --include_path {output}, or, for a run, "
            f"python -m lit_retrieval.harness --model_args run=RUN --tasks {output.name}_run --include_path {output}"
        )
        return
    batches = zip(
        _take(stream, samples, "Writing"),
        _take(others, samples, None, shots) if shots else repeat(None),
        strict=False,
    )
    manifest = save_text(output, stream.task, batches, drawn, overwrite)
    Console().print(f"{output}: {samples:,} prompts, sha256 {manifest['sha256']}", soft_wrap=True)


def _take(stream: SampleStream, samples: int, title: str | None, each: int = 1) -> Iterator[Transcripts]:
    """The samples in batches, `each` for one, with a progress bar of this title.

    Raises KeyboardInterrupt, with its number, once a signal has been noted.
    """
    starts: Iterable[int] = range(0, samples, _CHUNK)
    for start in track(starts, title) if title else starts:
        batch = stream.take(np.arange(each * start, each * min(start + _CHUNK, samples)))
        if _asked:
            raise KeyboardInterrupt(_asked[0])
        yield batch


def import_arrays(file: Path, output: Path, vocab_size: int | None = None, overwrite: bool = False) -> None:
    """Write the samples of another package, a .npz file of inputs and labels, as a file of ours.

    Train on it with `--data.task lit_retrieval.tasks.Imported`, its vocab_size, and data.train_file and val_file.

    Args:
        file: A .npz file with integers `inputs` and `labels` (or `targets`), (samples, time): the model is asked for
            labels[i, t] when it has read inputs[i, :t + 1]; -100, or 0 in a third array `mask`, is no label. Or with
            `input` and `output`, which is asked for after the input. One-hot arrays are read as ids.
        output: A .npz or .jsonl file for `data.train_file`, `data.val_file` or `data.test_file`.
        vocab_size: Number of ids; the largest of both arrays and 1 if absent. At its last id an `output` is asked for,
            so it must be the same for all files of a training.
        overwrite: Replace an existing file.
    """
    inputs, labels = read_arrays(file, vocab_size)
    task = Imported(int(max(inputs.max(), labels.max())) + 1 if vocab_size is None else vocab_size)
    about = {"task": describe(task), "regime": "vanilla", "source": file.name}
    save_samples(output, task.vocabulary, [task.transcripts(inputs, labels)], about, overwrite=overwrite)
    print(f"{output}: {len(inputs):,} samples of Imported, vocab_size {task.vocab_size}")


def show(
    task: Task,
    regime: Regime | None = None,
    sizes: SizeSpec | None = None,
    samples: int = 3,
    seed: int = 0,
    split: Split = "fit",
) -> None:
    """Print samples: each prompt, and on the lines below it the reply, with retrieved tokens in [brackets],
    and answers that are not written in {braces}.

    Args:
        task: The task: a class of lit_retrieval.tasks, or your own.
        regime: vanilla (the answer alone), cot (a written algorithm first) or retrieval (searches in the context);
            retrieval if absent, or the task's last regime.
        sizes: Sizes of the problems: [8, 16], or {8: 3, 16: 1} with weights, or 4..8, or 8..64..8 with a step; if
            absent, 8, or another that the task has.
        samples: Number of samples.
        seed: Seed of the sample streams.
        split: One of the trainer's sample streams: fit, validate, test or predict.
    """
    check_at_least("samples", samples, 1, "--samples")
    regime, sizes = regime or _regime(task), _or_found(sizes, task, 8)
    transcripts = SampleStream(task, regime, sizes, seed, split).take(np.arange(samples))
    for row in range(samples):
        print(transcripts.text(row, task.vocabulary), end="\n\n")


def check(file: Path) -> None:
    """Check a file of samples against its manifest, and print the manifest.

    Args:
        file: A file that `write` has written.
    """
    manifest = load_samples(file).manifest
    about = {name: value for name, value in manifest.items() if name != "words"}
    Console().print_json(data={**about, "words": len(manifest["words"])})


def check_class(task: Task, sizes: SizeSpec | None = None, written: dict[str, Any] | None = None) -> None:
    """Check a task against all rules, and print a line for each, with the number that shows it.

    The exit status is 1 if a rule is broken. With `--task my.Task`, or `my.Task` alone, the class may lie in a file of
    the current folder; `--task.NAME VALUE` sets an argument of the class.

    Args:
        task: The task: a class of lit_retrieval.tasks, or your own.
        sizes: Sizes of the problems: [8, 16], or 4..8, or 8..64..8 with a step; if absent, 8, or another that the task
            has.
        written: The class_path and init_args of the task, for the rule of processes.
    """
    sizes = _or_found(sizes, task, 8)
    if not print_report(f"{path_of(task)}, sizes {sizes}", report(task, sizes, written)):
        sys.exit(1)


def _regime(task: Task) -> Regime:
    return "retrieval" if "retrieval" in task.regimes else task.regimes[-1]


def _or_found(sizes: SizeSpec | None, task: Task, size: int) -> SizeSpec:
    """The given sizes, or one that the task has, `size` or another."""
    return [find_size(task, size)] if sizes is None else sizes


class Parser(OneLineErrors):
    """The parser of the command line and of each subcommand."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print one line, with missing arguments as they are named on the command line."""
        if message.startswith("the following arguments are required"):
            names = message.partition(": ")[2].split(", ")
            message = f"the following arguments are required: {', '.join(map(_as_given, names))}"
        super().error(message, ex)


def _as_given(name: str) -> str:
    """A missing argument as it is given: show.task as --task, check.file as file, a task's own as --task.NAME."""
    command, _, argument = name.rpartition(".")
    if command in ("check", "import"):
        return argument
    return f"--{argument}" if command else f"--task.{argument}"


def _as_options(message: str) -> str:
    """A message with the keys of a configuration as the options that they are here: data.seed is --seed."""
    return re.sub(r"\bdata\.(task|sizes|regime|seed)\b(?:\.init_args)?", r"--\1", message)


@contextmanager
def _noting_signals() -> Iterator[None]:
    """Note SIGTERM and Ctrl-C, so that `write` stops between two batches and partial files are deleted.

    An exception in the middle of LLVM's work would be lost, or crash the process. A second Ctrl-C exits at once.
    """

    def note(number: int, frame: object) -> None:
        _asked.append(number)
        signal.signal(number, before[signal.Signals(number)])

    _asked.clear()
    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the subcommand of the command line; a user's mistake ends it with one line and status 2."""
    announce_compilation()
    functions: dict[str, Callable[..., None]] = {
        "write": write, "show": show, "check": check, "check-class": check_class, "import": import_arrays,
    }  # fmt: skip
    parser = Parser(prog="python -m lit_retrieval.tasks", description="The tasks without the trainer.")
    subcommands = parser.add_subcommands()
    for name, function in functions.items():
        about = (function.__doc__ or "").split("\n\n")[0]
        subparser = Parser(description=about)
        subparser.add_argument("--config", action="config", help="a YAML file with any of the arguments below")
        subparser.add_argument("--replace", action=Replace, help=SUPPRESS, default=SUPPRESS)
        subparser.add_function_arguments(function, as_positional=function in (check, import_arrays), skip={"written"})
        subcommands.add_subcommand(name, subparser, help=about)
    try:
        limit_imports()
        given = list(sys.argv[1:] if arguments is None else arguments)
        given = put_first("--task", given) if given[:1] == ["check-class"] else given
        config: Any = parser.parse_args(replace_whole(given, parts=("task",)))
        chosen = parser.instantiate(config)[config.subcommand].as_dict()
        chosen.pop("config", None)
        if config.subcommand == "check-class":
            chosen["written"] = json.loads(parser.dump(config, format="json"))[config.subcommand]["task"]
        with _noting_signals() if config.subcommand == "write" else nullcontext():
            functions[config.subcommand](**chosen)
    except UserError as error:
        fail(_as_options(str(error)))
    except OSError as error:
        fail(f"{error.filename or 'the output'} can't be written: {error.strerror}")
    except KeyboardInterrupt as stop:
        number = signal.Signals(stop.args[0] if stop.args else signal.SIGINT)
        print(f"error: stopped by {number.name}; run it again", file=sys.stderr)
        sys.exit(128 + number)


if __name__ == "__main__":
    main()
