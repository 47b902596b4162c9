"""Checks a task: all rules for a report, or the cheap ones before a training run."""

from collections.abc import Iterator
from typing import Any

from lit_retrieval.conformance import Verdict, judge, path_of, refuse_broken
from lit_retrieval.tasks.checks.case import Case
from lit_retrieval.tasks.checks.table import RULES
from lit_retrieval.tasks.sizes import Sizes, SizeSpec
from lit_retrieval.tasks.task import Regime, Task

_FEW = 4  # samples in the cheap check


def check_task(task: Task, regime: Regime, sizes: SizeSpec) -> None:
    """Raise `UserError`, one line, if a few samples of a regime and of the smallest size break a cheap rule."""
    smallest = int(Sizes.parse(sizes).values.min())
    name = path_of(task)
    command = f"python -m lit_retrieval.tasks check-class {name}"
    refuse_broken(RULES, Case(task, (smallest,), (regime,), _FEW), name, command)


def report(task: Task, sizes: SizeSpec, written: dict[str, Any] | None = None) -> Iterator[Verdict]:
    """The verdicts of all rules on a task, in all its regimes; raises `UserError` for a size that it does not have.

    Args:
        task: The task.
        sizes: Sizes of its problems.
        written: Its class_path and init_args, from which other processes build it.
    """
    values = Sizes.parse(sizes).values.tolist()
    for size in values:
        task.check_size(size)
    return judge(RULES, Case(task, tuple(values), task.regimes, written=written))
