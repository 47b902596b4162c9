"""Writes docs/tasks.md: each task with its source, samples, lengths, chance accuracy, and ready configurations."""

import importlib
import inspect
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from benchmarks.data import suites
from pages import docstrings

import lit_retrieval.tasks
import lit_retrieval.tasks.text
from lit_retrieval.data import TranscriptData
from lit_retrieval.tasks import (
    CircuitRun,
    Counting,
    Imported,
    Index,
    MachineRun,
    Mixture,
    Regime,
    SmallSpaceRun,
    Task,
    Transcripts,
    describe,
)
from lit_retrieval.tasks.checks.earlier_answers import guess
from lit_retrieval.tasks.imported import NO_LABEL
from lit_retrieval.tasks.text import TextTask

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/tasks.md"
COMMAND = "python tools/tasks_page.py"
_DRAWN = 64  # samples of each size whose transcripts are measured
_HEAD = f"""\
# The tasks

Every task of `lit_retrieval.tasks` and of `lit_retrieval.tasks.text`, as its code has it; `{COMMAND}`
writes this page.

A sample is a transcript: the user's words, then the model's, in up to three regimes. In `vanilla` the model answers at
once, in `cot` it writes an algorithm first, in `retrieval` it searches the context. In the samples below, which are
drawn, what a search has found is in `[brackets]`, and an answer that the model is asked for beside the user's next
word, but that nobody writes, is in `{{braces}}`. Three dots stand for words that are left out.

"Suite" has the frozen test sets, `data/evaluation/NAME.yaml`, with the sizes of their problems. "Tokens" are those of
a whole transcript, the mean of {_DRAWN} samples of each size; "chance" is the score of a blind guess. "Bits" are the
independent fair bits in a problem, any of which may be asked for: a recurrent model needs a state of about so many bits
to answer in `vanilla` (arXiv:2402.18510, Theorem 4.6). They are known for random access codes alone.

Where an answer is written after another, later ones can be guessed from earlier ones. "guessed" is the accuracy of the
best of three guesses by someone who knows how often each word is in the prompt, but not where: the commonest word, the
commonest that earlier answers have not used up, or the last answer again. A model at or below this number need not have
recalled anything. Answers in `{{braces}}` are not in the context, and an exact match needs all of them.

`--data NAME` runs a ready file, `configs/data/NAME.yaml`.

"""
_TABLES = ("configs/circuits/parity.yaml", "configs/machines/palindrome.yaml", "configs/machines/increment.yaml")
_INPUTS, _LABELS = np.array([[3, 1, 3, 0]]), np.array([[NO_LABEL, NO_LABEL, 1, 3]])  # as another package has them
_MOST_WORDS = 48  # shown of a prompt or reply
_WIDTH = 116


def page() -> str:
    """The page, in Markdown: the kinds of tasks and the tasks of each kind, in alphabetical order."""
    golden, frozen, kinds = _golden(), _frozen(), defaultdict(list)
    for one in _classes():
        kinds[_kind(one)].append(one)
    parts = [docstrings.linked(_HEAD), _contents(kinds)]
    for kind in sorted(kinds, key=_order):
        parts.append(f"## {_title(kind)}\n\n{_about(kind)}\n\n")
        parts += [_section(one, golden.get(one, []), frozen.get(one, [])) for one in kinds[kind]]
    return "".join(parts).rstrip("\n") + "\n"


def _classes() -> list[type[Task]]:
    """The exported classes of tasks, by name."""
    modules = lit_retrieval.tasks, lit_retrieval.tasks.text
    named = sorted(((name, module) for module in modules for name in module.__all__), key=lambda one: one[0].lower())
    exported = [getattr(module, name) for name, module in named]
    is_task = [one for one in exported if inspect.isclass(one) and issubclass(one, Task)]
    return [one for one in is_task if not inspect.isabstract(one)]


def _kind(task: type[Task]) -> str:
    """The folder of the task's module; `others` for a module outside these folders."""
    folders = task.__module__.removeprefix("lit_retrieval.tasks.").split(".")
    return folders[0] if len(folders) > 1 else "others"


def _title(kind: str) -> str:
    return kind.upper() if len(kind) <= 3 else kind.capitalize()


def _order(kind: str) -> tuple[bool, str]:
    return kind == "others", kind


def _about(kind: str) -> str:
    if kind == "others":
        return "Tasks that take their problems from other tasks, or from files."
    return (importlib.import_module(f"lit_retrieval.tasks.{kind}").__doc__ or "").splitlines()[0]


def _golden() -> dict[type[Task], list[tuple[Task, int]]]:
    """Small tasks with sizes, by class: those of the golden transcripts, and `_others`."""
    if (folder := str(ROOT / "tests")) not in sys.path:
        sys.path.append(folder)
    found: dict[type[Task], list[tuple[Task, int]]] = defaultdict(list)
    golden = importlib.import_module("tasks.test_golden")
    for task, size in [*golden.TASKS.values(), *golden.TEXTS.values(), *_others()]:
        found[type(task)].append((task, size))
    return found


def _others() -> Iterator[tuple[Task, int]]:
    """A small task and its size for each class without golden transcripts."""
    yield CircuitRun(_table("configs/circuits/parity.yaml")), 2
    yield MachineRun(_table("configs/machines/palindrome.yaml")), 1
    yield SmallSpaceRun(_table("configs/machines/increment.yaml"), space=4), 1
    yield Mixture([Index(max_size=4, num_words=4), Counting(max_size=4, num_words=4)]), 4
    yield Imported(vocab_size=4), _INPUTS.shape[1]


def _table(path: str) -> Any:
    """The content of a YAML or JSON file in the checkout."""
    return yaml.safe_load((ROOT / path).read_text())


def _frozen() -> dict[type[Task], list[tuple[str, TranscriptData]]]:
    """The suites with their names, by class."""
    found = defaultdict(list)
    for name, data in suites():
        found[type(data.task)].append((name, data))
    return found


def _contents(kinds: dict[str, list[type[Task]]]) -> str:
    lines = [
        f"- {_title(kind)}: " + ", ".join(f"[{one.__name__}](#{one.__name__.lower()})" for one in kinds[kind])
        for kind in sorted(kinds, key=_order)
    ]
    return "\n".join(lines) + "\n\n"


def _section(one: type[Task], golden: list[tuple[Task, int]], frozen: list[tuple[str, TranscriptData]]) -> str:
    """The section of a class."""
    parts = [docstrings.head(one)]
    parts += [_samples(*pair) for pair in golden]
    if frozen:
        head = "| suite | sizes | tokens | chance | guessed | bits |\n|---|---|---|---|---|---|"
        parts.append("\n".join([head, *(_row(*pair) for pair in frozen)]))
    if ready := docstrings.ready(one, "lit_retrieval.tasks", "data"):
        parts.append(f"Ready: {', '.join(f'`--data {name}`' for name in ready)}.")
    return "\n\n".join(parts) + "\n\n"


def _samples(task: Task, size: int) -> str:
    """The first sample in each regime, as a block; a prompt that is the same in all regimes is shown once."""
    if isinstance(task, TextTask):
        return f"{_call(task)}, size {size}:\n\n```text\n{_dialogues(task, size)}\n```"
    samples = {regime: _sample(task, size, regime) for regime in task.regimes}
    lines = {"prompt": samples[task.regimes[0]][0], **{str(regime): reply for regime, (_, reply) in samples.items()}}
    if len({" ".join(prompt) for prompt, _ in samples.values()}) > 1:
        lines = {regime: prompt + reply for regime, (prompt, reply) in samples.items()}
    indent = max(map(len, lines)) + 2
    written = (
        textwrap.fill(
            f"{name + ':':{indent}}{' '.join(_shortened(words))}",
            _WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False,
        )
        for name, words in lines.items()
    )  # fmt: skip
    return f"{_call(task)}, size {size}:\n\n```text\n" + "\n".join(written) + "\n```"


def _dialogues(task: TextTask, size: int) -> str:
    """The prompt of the first sample and the reply in each regime, with long lines shortened."""
    lines: list[str] = []
    reply_of = importlib.import_module("reading").reply_of
    for regime in task.regimes:
        dialogue = task.dialogue(0, 0, size, regime)
        parts = {} if lines else {"prompt": dialogue.prompt}
        for name, text in {**parts, regime: reply_of(task, dialogue)}.items():
            first, *others = (textwrap.shorten(line, _WIDTH - 11, placeholder=" ...") for line in text.splitlines())
            lines += [f"{name + ':':11}{first}", *(f"{'':11}{line}" for line in others)]
    return "\n".join(lines)


def _sample(task: Task, size: int, regime: Regime) -> tuple[list[str], list[str]]:
    """The words of a prompt, and the marked words after it."""
    transcripts = (
        task.transcripts(_INPUTS, _LABELS)
        if isinstance(task, Imported)
        else task.sample(0, np.arange(1), np.full(1, size), regime)
    )
    words = importlib.import_module("reading").text_of(transcripts, task, 0).split()
    return words[: transcripts.prompt_length[0]], words[transcripts.prompt_length[0] :]


def _shortened(words: list[str]) -> list[str]:
    return words if len(words) <= _MOST_WORDS else [*words[: _MOST_WORDS - 1], "...", words[-1]]


def _call(task: Task) -> str:
    """The call that makes the task, without arguments at their defaults."""
    return f"`{_written(describe(task), type(task))}`"


def _written(value: Any, kind: type | None = None) -> str:
    """An argument as Python code; the content of a file becomes its path."""
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, dict) and "class_path" in value:
        room, _, name = value["class_path"].rpartition(".")
        parameters = inspect.signature(kind or getattr(importlib.import_module(room), name)).parameters
        given = {key: one for key, one in value["init_args"].items() if one != parameters[key].default}
        return f"{name}({', '.join(f'{key}={_written(one)}' for key, one in given.items())})"
    if isinstance(value, dict):
        return next((repr(path) for path in _TABLES if _table(path) == value), repr(value))
    return repr(value.removeprefix(f"{ROOT}/") if isinstance(value, str) else value)


def _row(name: str, data: TranscriptData) -> str:
    """The line of a suite."""
    task, sizes = data.task, data.stream("test").sizes.values.tolist()
    drawn = {regime: [_draw(task, size, regime) for size in sizes] for regime in task.regimes}
    tokens = (f"{regime} {_join(one.length.mean() for one in samples)}" for regime, samples in drawn.items())
    guesses = [guess(one, task.answer_words) for one in drawn[task.regimes[0]]]
    guessed = ", ".join(f"{max(one):.2f}" for one in guesses if one) or "-"
    bits = _join(one for one in map(task.random_bits, sizes) if one is not None) or "-"
    listed = ", ".join(map(str, sizes))
    return f"| `{name}` | {listed} | {'; '.join(tokens)} | {_chance(task)} | {guessed} | {bits} |"


def _draw(task: Task, size: int, regime: Regime) -> Transcripts:
    return task.sample(0, np.arange(_DRAWN), np.full(_DRAWN, size), regime)


def _join(numbers: Iterable[float]) -> str:
    return ", ".join(f"{number:,.0f}" for number in numbers)


def _chance(task: Task) -> str:
    share = Fraction(task.chance).limit_denominator(10_000_000)
    return str(share) if share.numerator <= 1 else f"{task.chance:.3f}"


if __name__ == "__main__":
    PAGE.write_text(page())
