"""Questions in the format of HotpotQA's files (arXiv:1809.09600)."""

import json
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lit_retrieval.errors import UserError, one_line

Order = Literal["required", "free"]

_FIELDS = ("_id", "question", "answer", "supporting_facts", "context")
_FILE = "hotpot_dev_distractor_v1.json"


class Question(NamedTuple):
    """A question and the paragraphs around it.

    Args:
        id: The id of the question.
        question: The question.
        answer: The right answer.
        facts: The sentences that support the answer, each with the title of its paragraph. Sentence numbers of the file
            that no paragraph has are left out.
        paragraphs: Title and text of each paragraph, including those of the supporting facts.
        gold: Titles of the two paragraphs of the supporting facts; a title that the question names comes first.
    """

    id: str
    question: str
    answer: str
    facts: tuple[tuple[str, str], ...]
    paragraphs: dict[str, str]
    gold: tuple[str, ...]

    def choose(self, number: int, order: Order) -> list[tuple[str, str]]:
        """Choose `number` paragraphs, including the two gold ones, and order them; returns titles and texts.

        The choice and the order depend only on the id and the titles. Paragraphs for a smaller number are among those
        for a larger number, and any two keep their order, except that `free` puts the gold ones at the end.

        Args:
            number: Number of paragraphs, 2 or more.
            order: `required`: a random order, so that the gold paragraphs must be searched for; or `free`.
        """
        others = sorted(self.paragraphs.keys() - self.gold, key=lambda title: self._digest("choice", title))
        chosen = sorted([*self.gold, *others[: number - 2]], key=lambda title: self._digest("order", title))
        if order == "free":
            chosen.sort(key=lambda title: title in self.gold)
        return [(title, self.paragraphs[title]) for title in chosen]

    def _digest(self, *parts: str) -> bytes:
        return blake2b("\0".join((self.id, *parts)).encode()).digest()


def read_questions(path: Path, key: str, fewest: int = 2) -> list[Question]:
    """The questions of a file that have at least `fewest` paragraphs.

    Raises `UserError` unless the file is in the format of hotpot_dev_distractor_v1.json; `key` is the key that names
    it.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}; write the path of {_FILE} in {key}") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}; write the path of {_FILE} in {key}") from None
    if not isinstance(content, list) or not content:
        raise UserError(f"{path} must hold a list of questions, as {_FILE} does; set another file in {key}")
    questions = [_read_question(one, f"question {number} of {path}") for number, one in enumerate(content)]
    ids = [question.id for question in questions]
    if len(set(ids)) < len(ids):
        again = next(one for at, one in enumerate(ids) if one in ids[:at])
        raise UserError(f"each question of {path} must have an id of its own, got {again!r} twice; remove one of them")
    if not (kept := [question for question in questions if len(question.paragraphs) >= fewest]):
        raise UserError(
            f"a question of {path} must have {fewest} paragraphs or more, and none has; lower the number of paragraphs"
        )
    return kept


def keep_only(questions: Sequence[Question], path: Path) -> list[Question]:
    """The questions whose ids are the lines of a file, in their original order; raises `UserError` for unknown ids."""
    try:
        ids = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        raise UserError(
            f"{path} can't be read; write a file with one id a line in data.task.init_args.only, such as one that "
            "tools/hotpotqa.py keep has printed"
        ) from None
    missing = [one for one in ids if one not in {question.id for question in questions}]
    if missing or not ids:
        what = f"{missing[0]!r} ({len(missing)} of {len(ids)} are unknown)" if missing else "no id"
        raise UserError(
            f"{path} must have ids of questions that have enough paragraphs, one a line, got {what}; set another file "
            "in data.task.init_args.only"
        )
    return [question for question in questions if question.id in set(ids)]


def _read_question(one: Any, where: str) -> Question:
    if not isinstance(one, dict) or any(field not in one for field in _FIELDS):
        got = ", ".join(map(str, one)) if isinstance(one, dict) else type(one).__name__
        raise UserError(
            f"{where} must have the fields {', '.join(_FIELDS)}, as in {_FILE}, got {got}; convert the file"
        )
    texts = [one[field] for field in _FIELDS[:3]]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise UserError(f"{where} must have texts in _id, question and answer, got {texts!r:.100}; convert the file")
    try:
        context = {one_line(title): list(map(one_line, _listed(listed))) for title, listed in one["context"]}
        facts = [(one_line(title), int(number)) for title, number in one["supporting_facts"]]
    except (AttributeError, TypeError, ValueError):
        raise UserError(
            f"{where} must have lists of [title, sentences] in context, and of [title, number of a sentence] in "
            f"supporting_facts, as in {_FILE}; convert the file"
        ) from None
    named = sorted(dict.fromkeys(title for title, _ in facts), key=lambda title: title not in one["question"])
    if len(named) != 2 or not set(named) <= context.keys():
        there = sum(title in context for title in named)
        raise UserError(
            f"{where} must have the two paragraphs of its supporting facts in its context, got {there} of "
            f"{len(named)}; take {_FILE}, not the fullwiki file"
        )
    facts.sort(key=lambda fact: named.index(fact[0]))
    sentences = tuple((title, context[title][at]) for title, at in facts if 0 <= at < len(context[title]))
    paragraphs = {title: " ".join(listed) for title, listed in context.items()}
    name, question, answer = map(one_line, texts)
    return Question(name, question, answer, sentences, paragraphs, tuple(named))


def _listed(sentences: Any) -> list[Any]:
    if not isinstance(sentences, list):
        raise TypeError
    return sentences
