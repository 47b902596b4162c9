"""The answers of tests on HotpotQA."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lit_retrieval.errors import UserError

ORDERS = ("required", "free")
_FIELDS: dict[str, tuple[type, ...]] = {
    "id": (str,), "n": (int,), "order": (str,), "em": (int,), "f1": (int, float), "searches": (int,),
}  # fmt: skip
_TEST = "python -m lit_retrieval test --config configs/experiments/hotpotqa.yaml --run_dir FOLDER"


class Answer(NamedTuple):
    """A model's answer to a question.

    Args:
        id: Id of the question.
        n: Number of paragraphs.
        order: required or free.
        em: 1 for an exact match, else 0.
        f1: F1 score, from 0 to 1.
        searches: Number of searches.
    """

    id: str
    n: int
    order: str
    em: int
    f1: float
    searches: int


def read_answers(path: Path) -> list[Answer]:
    """The answers of a test: a run's folder, or its answers.jsonl; raises `UserError` for another file."""
    path = path / "answers.jsonl" if path.is_dir() else path
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}; write it with `{_TEST}`") from None
    except ValueError as error:
        raise UserError(f"{path} is not a file of JSON lines: {error}; write it with `{_TEST}`") from None
    if not lines:
        raise UserError(f"{path} has no answers; write it again with `{_TEST}`")
    return [_read(line, f"line {number} of {path}") for number, line in enumerate(lines, start=1)]


def kept(runs: Mapping[Path, Sequence[Answer]]) -> list[str]:
    """The sorted ids of questions that all runs answer right when only the two gold paragraphs are given."""
    right = []
    for path, answers in runs.items():
        alone = [answer for answer in answers if answer.n == 2]
        if not alone:
            raise UserError(f"{path} has no answers at n = 2; test it with --data.eval_sizes '[2]'")
        right.append({answer.id for answer in alone if answer.em})
    ids = set.intersection(*right)
    if not ids:
        raise UserError("no question is right at n = 2 in all runs; leave out the weakest run, or ask more questions")
    return sorted(ids)


def join(parts: Sequence[tuple[Path, Sequence[Answer]]], label: str) -> dict[tuple[str, int], dict[str, Answer]]:
    """The answers of one curve by order and n, and then by id.

    At n = 2 both orders have the same prompt, so answers to one count for both. Raises `UserError` if two files have
    the same question, or if the questions differ between orders or values of n.
    """
    cells: dict[tuple[str, int], dict[str, Answer]] = {}
    for path, answers in parts:
        for answer in answers:
            cell = cells.setdefault((answer.order, answer.n), {})
            if answer.id in cell:
                raise UserError(
                    f"{path} has question {answer.id!r} at n = {answer.n} in the order {answer.order} a second time "
                    f"for the curve {label}; name each test once, or give it a label of its own: LABEL=FOLDER"
                )
            cell[answer.id] = answer
    for order, other in (ORDERS, ORDERS[::-1]):
        if (other, 2) in cells and any(there == order for there, _ in cells):
            cells.setdefault((order, 2), cells[other, 2])
    return cells


def check_same_questions(curves: Mapping[str, Mapping[tuple[str, int], Mapping[str, Answer]]]) -> None:
    """Raise `UserError` unless all cells of all curves have the same questions."""
    named = [
        (f"{label} ({order}, n = {n})", set(cell))
        for label, cells in curves.items()
        for (order, n), cell in cells.items()
    ]
    first, ids = named[0]
    for name, others in named:
        if ids != others:
            raise UserError(
                f"all tests must have the same questions, got {len(ids)} in {first} and {len(others)} in {name}, "
                f"{len(ids & others)} of them the same; test again with one file in --data.task.init_args.only"
            )


def _read(line: Any, where: str) -> Answer:
    if not isinstance(line, dict) or not all(isinstance(line.get(name), types) for name, types in _FIELDS.items()):
        raise UserError(f"{where} must have {', '.join(_FIELDS)}; write it with `{_TEST}`")
    if line["order"] not in ORDERS:
        raise UserError(f"order must be {' or '.join(ORDERS)} in {where}, got {line['order']!r}; test it again")
    return Answer(**{name: line[name] for name in _FIELDS})
