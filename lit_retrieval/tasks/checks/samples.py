"""Rules about samples: each sample depends only on the task, the seed and its index."""

import pickle
from typing import Any

import numpy as np

from lit_retrieval.conformance import BrokenRuleError, NotApplicableError
from lit_retrieval.errors import UserError
from lit_retrieval.tasks.checks.case import Case, other_random_numbers, rows_of
from lit_retrieval.tasks.drawn_task import DrawnTask

_MANY = 64  # small problems repeat, so fewer samples of two seeds could be equal by chance


def has_its_attributes(case: Case) -> str:
    """The task has a vocabulary, answer words and a chance, and is evaluated in the same vocabulary."""
    try:
        case.task.check_attributes()
    except UserError as error:
        raise BrokenRuleError(str(error)) from error
    for name in ("evaluation", "validation"):
        if getattr(case.task, name).vocabulary.words != case.task.vocabulary.words:
            raise BrokenRuleError(f"{name} must have the task's vocabulary, and has other words; use the same in both")
    return f"{len(case.task.vocabulary):,} words, {len(case.task.answer_words):,} end a turn"


def refuses_impossible_sizes(case: Case) -> str:
    """`check_size` raises `UserError` for an impossible size."""
    try:
        case.task.check_size(-1)
    except UserError as error:
        return str(error)
    raise BrokenRuleError("check_size(-1) must raise UserError, and did not; call ranges.check_at_least in it")


def is_the_same_twice(case: Case) -> str:
    """The same arguments give the same samples, whatever other random numbers were drawn between."""
    for regime in case.regimes:
        with other_random_numbers(1):
            first = case.rows(regime)
        with other_random_numbers(2):
            second = case.rows(regime)
        if first != second:
            differ = sum(one != other for one, other in zip(first, second, strict=True))
            raise BrokenRuleError(
                f"the same seed and index must give the same sample, but {differ} of {case.num_samples} differ in "
                f"regime {regime}; draw from `rng` alone, and keep nothing from one sample to the next"
            )
    return f"{case.num_samples} samples twice in each regime"


def depends_on_its_index_alone(case: Case) -> str:
    """A sample is the same alone, and in a batch of another order."""
    for regime in case.regimes:
        whole, backwards = case.rows(regime), np.arange(case.num_samples)[::-1]
        alone = [case.rows(regime, [index])[0] for index in range(min(4, case.num_samples))]
        if case.rows(regime, backwards)[::-1] != whole or alone != whole[: len(alone)]:
            raise BrokenRuleError(
                f"a sample must not depend on the rest of its batch, but does in regime {regime}; derive it from its "
                "own index, not from its row"
            )
    return "the same alone, and in a batch backwards"


def differs_from_others(case: Case) -> str:
    """Samples with other indices, or with another seed, differ."""
    case, regime = case._replace(num_samples=_MANY), case.regimes[0]
    rows = case.rows(regime)
    different = len({tuple(row.tokens) for row in rows})
    if different == 1 and isinstance(case.task, DrawnTask) and not _uses_rng(case.task, max(case.sizes)):
        raise BrokenRuleError(f"samples must differ, but all {case.num_samples} are the same; draw from `rng`")
    if different == 1:
        raise NotApplicableError(f"all {case.num_samples} samples are the same")
    if case.rows(regime, seed=1) == rows:
        raise BrokenRuleError("another seed must give other samples, and does not; derive them from the seed, too")
    return f"{different} of {case.num_samples} are distinct; another seed, others"


class _Noted(np.random.Generator):
    """Records in its `__dict__` that it was used."""

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("__"):
            self.__dict__["is_used"] = True
        return super().__getattribute__(name)


def _uses_rng(task: DrawnTask, size: int) -> bool:
    """Whether a task uses its random numbers, for any number of problems."""
    rng = _Noted(np.random.Philox(0))
    task.draw(rng, size)
    return size == 0 or bool(vars(rng))


def travels_to_workers(case: Case) -> str:
    """A pickled task, as data-loader workers may get it, writes the same samples."""
    try:
        copy = pickle.loads(pickle.dumps(case.task))
    except Exception as error:
        raise BrokenRuleError(f"it must be picklable, for workers: {error}; keep no lambdas or open files") from error
    regime = case.regimes[0]
    if rows_of(case._replace(task=copy).sample(regime)) != case.rows(regime):
        raise BrokenRuleError("a pickled copy must write the same samples; keep all that it needs in its attributes")
    return "a pickled copy writes the same"
