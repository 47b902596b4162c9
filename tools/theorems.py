"""Run the theorems' models, and print what they are and how far they are right: `python tools/theorems.py --help`."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jsonargparse import auto_cli
from rich.progress import track

from lit_retrieval.constructions import ConstructedModel, Theorem46, Theorem52, Theorem56
from lit_retrieval.constructions.construction import Problem
from lit_retrieval.decoding import Session, generate
from lit_retrieval.retrieval import RegularExpressionRetriever
from lit_retrieval.tasks import AssociativeRecall, Counting, Index, NGramRetrieval, Regime, Task

_MODELS = {Theorem46: "Transformer", Theorem52: "linear RNN, one search", Theorem56: "linear RNN + one attention layer"}
_REGIMES: dict[type, Regime] = {Theorem46: "vanilla", Theorem52: "retrieval", Theorem56: "vanilla"}
_PROBLEMS: tuple[Problem, ...] = ("index", "associative_recall", "ngram_retrieval", "counting")
_WORDS_AT_ONCE = 16_384  # words of all rows that are decoded together
_BUDGET = 64  # longer than any query of these models


class Line(NamedTuple):
    """A line of the table."""

    theorem: str
    problem: str
    model: str
    layers: int
    width: int
    parameters: int
    state_bits: int
    right64: str
    right32: str


def theorems(sizes: tuple[int, ...] = (16, 64, 256, 1024), samples: int = 200, seed: int = 0) -> None:
    """Score every model of a theorem on random instances of each size, and print a table in Markdown.

    Args:
        sizes: Lengths of the lists.
        samples: Instances of each length.
        seed: Names the instances.
    """
    lines = list(_lines(sizes, samples, seed))
    names = ["theorem", "problem", "model", "layers", "width", "parameters", f"state bits at n = {sizes[-1]}"]
    print("| " + " | ".join([*names, "right in float64", "right in float32"]) + " |")
    print("|---" * len(Line._fields) + "|")
    for line in lines:
        print("| " + " | ".join(f"{value:,}" if isinstance(value, int) else value for value in line) + " |")


def _lines(sizes: tuple[int, ...], samples: int, seed: int) -> Iterator[Line]:
    pairs = [(theorem, problem) for theorem in _MODELS for problem in _PROBLEMS]
    for theorem, problem in track(pairs, "Running"):
        tasks = {size: _task(problem, size) for size in sizes}
        model = theorem(problem).write(tasks[sizes[-1]].vocabulary)
        length = int(tasks[sizes[-1]].sample(seed, np.arange(16), np.full(16, sizes[-1]), "vanilla").length.max())
        right = {
            precision: _describe({size: _right(theorem(problem, precision=precision), task, size, samples, seed)
                                  for size, task in tasks.items()})
            for precision in ("float64", "float32")
        }  # fmt: skip
        yield Line(
            theorem.number, problem, _MODELS[theorem], len(model.mixers), model.registers.width, model.num_parameters,
            model.state_bits(length), right["float64"], right["float32"],
        )  # fmt: skip


def _task(problem: Problem, size: int) -> Task:
    if problem == "index":
        return Index(max_size=size, query_form="full")
    if problem == "associative_recall":
        return AssociativeRecall(num_keys=size // 2, query_form="full")
    if problem == "ngram_retrieval":
        return NGramRetrieval(max_size=size, query_form="full")
    return Counting(max_size=size, query_form="full")


def _right(theorem: Theorem46 | Theorem52 | Theorem56, task: Task, size: int, samples: int, seed: int) -> float:
    """The share of instances that are answered right."""
    model: ConstructedModel = theorem.write(task.vocabulary)
    retriever, ends, right = RegularExpressionRetriever(timeout=5.0), frozenset(task.answer_words.tolist()), 0
    batch = max(1, _WORDS_AT_ONCE // size)
    for start in range(0, samples, batch):
        indices = np.arange(start, min(start + batch, samples))
        transcripts = task.sample(seed, indices, np.full(len(indices), size), _REGIMES[type(theorem)])
        sessions = [
            Session(transcripts.turns(row), ends, retriever, task.vocabulary, _BUDGET) for row in range(len(indices))
        ]
        replies = generate(model, sessions)
        right += sum(
            reply.answers == answers for reply, answers in zip(replies, transcripts.answers.tolist(), strict=True)
        )
    return right / samples


def _describe(right: dict[int, float]) -> str:
    if all(share == 1 for share in right.values()):
        return f"all, to n = {max(right):,}"
    return ", ".join(f"{share:.3f} at {size:,}" for size, share in right.items())


if __name__ == "__main__":
    auto_cli(theorems, as_positional=False)
