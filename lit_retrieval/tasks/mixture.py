"""A mixture of tasks."""

import math
from collections import Counter
from collections.abc import Sequence
from functools import reduce
from types import FunctionType
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from lit_retrieval.errors import UserError
from lit_retrieval.retrieval import Retriever
from lit_retrieval.tasks.random import Counts, derive_seed, draw_weighted
from lit_retrieval.tasks.task import REGIMES, Regime, Task, Transcripts, check_words
from lit_retrieval.tasks.writing import blank_rows
from lit_retrieval.vocabulary import FIRST_WORD, Ids, Vocabulary

_DEEPEST = 8  # attributes of attributes of a retriever that are compared


class Mixture(Task):
    """Problems of several tasks, drawn by weight, in one vocabulary; scores are also reported by task.

    A prompt does not say which task it is from. The tasks share one vocabulary, the union of theirs. An answer word of
    one task must not be another kind of word in a second task, since it would end a turn there. All tasks use the same
    retriever.

    Args:
        tasks: The tasks, each with a class_path.
        weights: Relative frequency of each task; equal if absent.
    """

    def __init__(self, tasks: list[Task], weights: list[float] | None = None) -> None:
        weights = weights or [1.0] * len(tasks)
        if not tasks or len(weights) != len(tasks) or not 0 < min(weights) <= sum(weights) < math.inf:
            raise UserError(
                "weights must be above 0 with a finite sum, one for each of 1 or more tasks, got "
                f"{weights} for {len(tasks)} tasks; set data.task.init_args.weights"
            )
        for task in tasks:
            task.check_attributes()
            check_words(task, "Mixture")
            if task.num_problems is not None:
                raise UserError(f"Mixture needs problems without end, got {type(task).__name__}, which has "
                                f"{task.num_problems}; leave it out of data.task.init_args.tasks")  # fmt: skip
        _check_answer_words(tasks)
        self.tasks = tasks
        self.retriever = _common_retriever(tasks)
        self.weights = weights
        self.kinds = _names(tasks)
        self.regimes = tuple(regime for regime in REGIMES if all(regime in task.regimes for task in tasks))
        if not self.regimes:
            raise UserError(f"the tasks of a mixture must have a regime in common, and {' and '.join(self.kinds)} have "
                            "none; mix others")  # fmt: skip
        words = dict.fromkeys(word for task in tasks for word in task.vocabulary.words[FIRST_WORD:])
        self.vocabulary = Vocabulary(words)
        self._ids = [self.vocabulary.encode(task.vocabulary.words) for task in tasks]
        answers = (ids[task.answer_words] for ids, task in zip(self._ids, tasks, strict=True))
        self.answer_words = reduce(np.union1d, answers).astype(np.int32)
        self.chance = float(np.average(self.chances, weights=weights))

    @property
    def chances(self) -> tuple[float, ...]:
        """The share of right answers among blind guesses, for each task."""
        return tuple(task.chance for task in self.tasks)

    @property
    def evaluation(self) -> "Mixture":
        """The mixture of the tasks that each task is tested on."""
        return Mixture([task.evaluation for task in self.tasks], self.weights)

    @property
    def validation(self) -> "Mixture":
        """The mixture of the tasks that each task is validated on."""
        return Mixture([task.validation for task in self.tasks], self.weights)

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; see `Task.sample`."""
        always = np.zeros(len(self.tasks), np.int64)
        level = _level(self)  # nested mixtures use different random numbers
        drawn_with = derive_seed(seed, f"kinds {level}" if level else "kinds")
        kinds = draw_weighted(np.uint64(drawn_with), indices, np.array(self.weights), always)
        parts = [np.flatnonzero(kinds == kind) for kind in range(len(self.tasks))]
        written = [
            (rows, ids, task.write(seed, indices[rows], sizes[rows], regime))
            for rows, ids, task in zip(parts, self._ids, self.tasks, strict=True)
            if len(rows)
        ]
        width = max(part.tokens.shape[1] for _, _, part in written)
        whole = blank_rows(len(indices), width, max(part.answers.shape[1] for _, _, part in written))
        for rows, ids, part in written:
            _put(whole.tokens, rows, ids[part.tokens])
            _put(whole.author, rows, part.author)
            _put(whole.answers, rows, ids[part.answers])
            _put(whole.distances, rows, part.distances)
            whole.length[rows], whole.prompt_length[rows] = part.length, part.prompt_length
        return whole.transcripts(sizes, kinds)

    @property
    def estimates_lengths(self) -> bool:
        """Whether one of the tasks does."""
        return any(task.estimates_lengths for task in self.tasks)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The longest among the tasks."""
        return max(task.longest_reply(size, regime) for task in self.tasks)

    def shortest_reply(self, regime: Regime) -> int:
        """The shortest among the tasks."""
        return min(task.shortest_reply(regime) for task in self.tasks)

    def longest_distance(self, size: int, regime: Regime) -> int:
        """The longest among the tasks."""
        return max(task.longest_distance(size, regime) for task in self.tasks)

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless all tasks have problems of this size."""
        for task in self.tasks:
            task.check_size(size)

    def check_retriever(self, retriever: Retriever) -> None:
        """Raise `UserError` unless this retriever can answer the queries of all tasks."""
        for task in self.tasks:
            task.check_retriever(retriever)


def _level(task: Task) -> int:
    """The nesting depth of mixtures in a task; 0 for a mixture that has no other inside."""
    parts = task.tasks if isinstance(task, Mixture) else [one for one in vars(task).values() if isinstance(one, Task)]
    return max(map(_level, parts), default=-1) + isinstance(task, Mixture)


def _common_retriever(tasks: list[Task]) -> Retriever:
    """The retriever of all tasks; raises `UserError` if they have different ones."""
    first = tasks[0].retriever
    for task in tasks[1:]:
        if not _is_same(task.retriever, first):
            names = " and ".join(type(one.retriever).__name__ for one in (tasks[0], task))
            raise UserError(
                f"the tasks of a mixture must search with one retriever and its settings, got {names}; mix others"
            )
    return first


def _is_same(one: object, other: object, depth: int = 0) -> bool:
    """Whether two retrievers are equal, or have one class and equal attributes; dicts, such as caches, are ignored."""
    if one is other or depth > _DEEPEST:
        return True
    if type(one) is not type(other) or isinstance(one, FunctionType | type):
        return False
    if isinstance(one, np.ndarray):
        return np.array_equal(one, cast(npt.NDArray[Any], other))
    if isinstance(one, list | tuple):
        pairs = zip(one, cast(Sequence[object], other), strict=False)
        return len(one) == len(cast(Sequence[object], other)) and all(_is_same(*pair, depth + 1) for pair in pairs)
    if not hasattr(one, "__dict__"):
        return isinstance(one, dict | set) or bool(one == other)
    names = vars(one).keys() | vars(other).keys()
    return all(_is_same(getattr(one, name, None), getattr(other, name, None), depth + 1) for name in names)


def _names(tasks: list[Task]) -> tuple[str, ...]:
    """The class name of each task, numbered if several have the same class."""
    names = [type(task).__name__ for task in tasks]
    total, seen = Counter(names), Counter[str]()
    for position, name in enumerate(names):
        seen[name] += 1
        names[position] = f"{name}{seen[name]}" if total[name] > 1 else name
    return tuple(names)


def _check_answer_words(tasks: list[Task]) -> None:
    answers = [set(task.vocabulary.decode(task.answer_words)) for task in tasks]
    for task, own in zip(tasks, answers, strict=True):
        others = set(task.vocabulary.words) - own
        if clash := sorted(others & set().union(*answers)):
            raise UserError(
                f"the word {clash[0]!r} of {type(task).__name__} is an answer in another task, where it ends a turn; "
                "remove one of the two from the mixture"
            )


def _put(whole: npt.NDArray[np.generic] | Ids, rows: Counts, part: npt.NDArray[np.generic]) -> None:
    whole[rows, : part.shape[1]] = part
