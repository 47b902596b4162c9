"""Print sizes and accuracy of the theorems' models: `python tools/theorems.py --help`."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jsonargparse import auto_cli
from rich.progress import track

from lit_retrieval.circuits import read_circuit
from lit_retrieval.constructions import (
    Construction,
    Proposition51,
    Theorem41,
    Theorem46,
    Theorem47,
    Theorem48,
    Theorem52,
    Theorem53,
    Theorem54,
    Theorem56,
    Theorem57,
    Theorem58,
)
from lit_retrieval.constructions.construction import Precision, Problem
from lit_retrieval.decoding import decode
from lit_retrieval.machines import read_table
from lit_retrieval.parsing import OneLineErrors, one_line_errors
from lit_retrieval.ranges import check_at_least
from lit_retrieval.retrieval import (
    AssociativeRecallRetriever,
    EitherFormRetriever,
    RegularExpressionRetriever,
    Retriever,
)
from lit_retrieval.tasks import (
    AssociativeRecall,
    CircuitRun,
    Counting,
    Index,
    IsTree,
    MachineRun,
    NGramRetrieval,
    Regime,
    SmallSpaceRun,
    Task,
)
from lit_retrieval.tasks.recall.index import QueryForm

_TOKENS_AT_ONCE = 16_384  # tokens of all prompts that are decoded together
_CONFIGS = Path(__file__).parents[1] / "configs"


class Case(NamedTuple):
    """A theorem's model for a task.

    Args:
        theorem: Number of the theorem.
        task_name: Name of the task.
        model: Description of the model.
        write: Makes the construction in a precision.
        task: Makes the task for problems of a size.
        regime: Regime of the answers.
        sizes: Sizes of the instances.
        reply: Maximum number of tokens in the reply for a size; the regime's if absent.
        state_at: Size at whose longest context the state is measured, without running it; the largest if absent.
        retriever: Answers the model's searches; EitherFormRetriever if absent.
        most_samples: Most instances of a size, for long runs.
    """

    theorem: str
    task_name: str
    model: str
    write: Callable[[Precision], Construction]
    task: Callable[[int], Task]
    regime: Regime
    sizes: tuple[int, ...]
    reply: Callable[[int], int] | None = None
    state_at: int | None = None
    retriever: Retriever | None = None
    most_samples: int | None = None


def theorems(largest: int = 1024, samples: int = 200, seed: int = 0) -> None:
    """Score the theorems' models on random instances of several sizes, and print a table in Markdown.

    Args:
        largest: Largest size of lists; 1/4, 1/16 and 1/64 of it are tested too. For graphs, the state is measured at
            this number of vertices.
        samples: Instances per size.
        seed: Random seed of the instances.
    """
    check_at_least("largest", largest, 4, "--largest")
    check_at_least("samples", samples, 1, "--samples")
    check_at_least("seed", seed, 0, "--seed")
    sizes = tuple(size for size in (largest // 64, largest // 16, largest // 4, largest) if size >= 4)
    cases = [*_simple_cases(sizes), *_recall_cases(sizes), *_graph_cases(largest), *_machine_cases(), *_circuit_cases()]
    lines = [_line(case, samples, seed) for case in track(cases, "Running")]
    names = [
        "theorem", "task", "model", "layers", "width", "parameters", "state bits", "largest n, float64", "accuracy",
        "largest n, float32", "accuracy",
    ]  # fmt: skip
    for line in (names, ["---"] * len(names), *lines):
        print("| " + " | ".join(line) + " |")


def _simple_cases(sizes: tuple[int, ...]) -> Iterator[Case]:
    tasks: dict[Problem, Callable[[int], Task]] = {
        "index": lambda size: Index(max_size=size, query_form="full"),
        "associative_recall": lambda size: AssociativeRecall(num_keys=size // 2, query_form="full"),
        "ngram_retrieval": lambda size: NGramRetrieval(max_size=size, query_form="full"),
        "counting": lambda size: Counting(max_size=size, query_form="full"),
    }
    models: list[tuple[type[Theorem46 | Theorem52 | Theorem56], str, Regime]] = [
        (Theorem46, "Transformer", "vanilla"),
        (Theorem52, "linear RNN, one search", "retrieval"),
        (Theorem56, "linear RNN + one attention layer", "vanilla"),
    ]
    for theorem, model, regime in models:
        for problem, task in tasks.items():
            yield Case(theorem.number, problem, model, partial(_simple, theorem, problem), task, regime, sizes)


def _simple(theorem: type[Theorem46 | Theorem52 | Theorem56], problem: Problem, precision: Precision) -> Construction:
    return theorem(problem, precision=precision)


def _graph_cases(largest: int) -> Iterator[Case]:
    def graphs(size: int) -> Task:
        return IsTree(max_size=size, distribution="random")

    models: list[tuple[type[Theorem47 | Theorem53 | Theorem57], str, Regime, Callable[[int], int] | None]] = [
        (Theorem47, "Transformer, a tour", "cot", None),
        (Theorem53, "linear RNN, searches", "retrieval", None),
        (Theorem57, "linear RNN + one attention layer, linked edges", "vanilla", lambda size: 12 * size - 6),
    ]
    for theorem, model, regime, reply in models:
        yield Case(theorem.number, "is_tree", model, theorem, graphs, regime, (8, 16, 32, 64), reply, largest)


def _machine_cases() -> Iterator[Case]:
    sizes = {"busy_beaver_2": (0,), "busy_beaver_3": (0,), "busy_beaver_4": (0,), "increment": (4, 16, 64),
             "palindrome": (4, 8, 16)}  # fmt: skip
    tables = {name: read_table(str(_CONFIGS / f"machines/{name}.yaml")) for name in sizes}
    for name, table in tables.items():
        run = partial(_run, MachineRun(table))
        models: list[tuple[type[Theorem54 | Theorem58], str, Regime]] = [
            (Theorem54, "linear RNN, a search a step", "retrieval"),
            (Theorem58, "linear RNN + one attention layer", "cot"),
        ]
        for theorem, model, regime in models:
            yield Case(theorem.number, name, model, partial(theorem, table), run, regime, sizes[name])
    palindrome = tables["palindrome"]
    yield Case(
        "4.1", "palindrome", "linear RNN, 20 cells of space", lambda precision: Theorem41(palindrome, 20, precision),
        lambda size: SmallSpaceRun(palindrome, 20), "cot", (4, 8, 16),
    )  # fmt: skip


def _recall_cases(sizes: tuple[int, ...]) -> Iterator[Case]:
    """Proposition 5.1: an RNN with associative recall, which is limited by its memory, and one with searches."""
    models: list[tuple[str, Callable[[Precision], Construction], QueryForm, Retriever | None]] = [
        ("linear RNN that keeps 16 words, associative recall", _keep, "recall", AssociativeRecallRetriever()),
        ("linear RNN of theorem 5.2, one search", partial(_simple, Theorem52, "index"), "full", None),
    ]
    for model, write, form, retriever in models:
        yield Case("5.1", "index_separated", model, write, partial(_separated, form), "retrieval", sizes,
                   retriever=retriever)  # fmt: skip


def _keep(precision: Precision) -> Construction:
    return Proposition51(16, precision)


def _separated(form: QueryForm, size: int) -> Task:
    return Index(size, distribution="separated_code", query_form=form)


def _circuit_cases() -> Iterator[Case]:
    described = {
        "parity": ("Transformer, 11 gates", (4, 16, 64), 50),
        "gru_parity": ("Transformer, 563 gates of a trained GRU", (1, 2, 4), 8),
    }
    for name, (model, sizes, most_samples) in described.items():
        circuit = read_circuit(str(_CONFIGS / f"circuits/{name}.yaml"))
        run = partial(_run, CircuitRun(circuit, max_steps=2))
        construction = partial(Theorem48, circuit)
        yield Case("4.8", name, model, construction, run, "cot", sizes, most_samples=most_samples)


def _run(task: Task, size: int) -> Task:
    """The task of a machine or a circuit itself; its input may have any size."""
    return task


def _line(case: Case, samples: int, seed: int) -> list[str]:
    tasks = {size: case.task(size) for size in case.sizes}
    model = case.write("float64").write(tasks[case.sizes[-1]].vocabulary)
    counts = (len(model.mixers), model.registers.width, model.num_parameters, model.state_bits(_longest(case, seed)))
    columns, most = [], min(samples, case.most_samples or samples)
    for precision in ("float64", "float32"):
        # There is only one empty tape.
        right = {size: _right(case, precision, task, size, most if size else 1, seed) for size, task in tasks.items()}
        columns += [_largest(right), f"{sum(right.values()) / len(right):.3f}"]
    return [case.theorem, case.task_name, case.model, *(f"{count:,}" for count in counts), *columns]


def _longest(case: Case, seed: int) -> int:
    """The length in tokens of the longest of some contexts of the size at which the state is measured."""
    size = case.state_at or case.sizes[-1]
    transcripts = case.task(size).sample(seed, np.arange(16), np.full(16, size), case.regime)
    return int((transcripts.prompt_length.max() + case.reply(size)) if case.reply else transcripts.length.max())


def _right(case: Case, precision: Precision, task: Task, size: int, samples: int, seed: int) -> float:
    """The share of right answers."""
    model, right = case.write(precision).write(task.vocabulary), 0
    retriever = case.retriever or EitherFormRetriever(RegularExpressionRetriever(timeout=5.0))
    max_new_tokens = case.reply(size) if case.reply else task.longest_reply(size, case.regime) + 1
    batch = max(1, _TOKENS_AT_ONCE // (size + 64))
    for start in range(0, samples, batch):
        indices = np.arange(start, min(start + batch, samples))
        transcripts = task.sample(seed, indices, np.full(len(indices), size), case.regime)
        replies = decode(model, transcripts, task, retriever, max_new_tokens)
        right += sum(reply.answers == transcripts.answers_of(row) for row, reply in enumerate(replies))
    return right / samples


def _largest(right: dict[int, float]) -> str:
    """The largest size up to which every answer is right; `-` for an empty tape."""
    verified = list(takewhile(lambda size: right[size] == 1, sorted(right)))
    return f"{verified[-1]:,}" if verified and verified[-1] else "-"


if __name__ == "__main__":
    with one_line_errors():
        auto_cli(theorems, as_positional=False, parser_class=OneLineErrors)
