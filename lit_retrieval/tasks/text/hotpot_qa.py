"""HotpotQA with a variable number of paragraphs in a chosen order."""

from copy import copy
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_between, check_choice
from lit_retrieval.retrieval import PassageRetriever
from lit_retrieval.tasks.task import Regime
from lit_retrieval.tasks.text.answers import exact_match
from lit_retrieval.tasks.text.questions import Order, Question, keep_only, read_questions
from lit_retrieval.tasks.text.text_task import Dialogue, TextTask
from lit_retrieval.vocabulary import FAILED, SPECIAL_WORDS

_ARGUMENTS = "data.task.init_args"
_FEWEST = 2  # paragraphs: the gold ones
_MOST = 10  # paragraphs of a question in HotpotQA


class Asked(NamedTuple):
    """A question with some of its paragraphs."""

    question: Question
    number: int


class HotpotQA(TextTask):
    r"""Questions that two of several paragraphs answer together, from a file of HotpotQA.

    HotpotQA is arXiv:1809.09600; arXiv:2402.18510, section 6.2, varies the number of paragraphs and their order. The
    size is the number of paragraphs. Validation, test and prediction ask each question of `file` at each size; with
    `held_out`, validation asks questions of `train_file` instead, so that no test question chooses the best checkpoint.
    The choice of paragraphs depends only on the question's id, and the paragraphs of a smaller size are among those of
    a larger size. At size 2 both orders have the same prompt. A question at size 3::

        - Fallow Ness: Fallow Ness is a town of fishermen.
        - Ada Brenlow: Ada Brenlow painted landscapes. She was born in Tellmark.
        - Tellmark: Tellmark is a small town. The river Orva flows through it.
        Question: Which river flows through the town where Ada Brenlow was born?

        vanilla    Answer: Orva
        cot        Ada Brenlow: She was born in Tellmark.
                   Tellmark: The river Orva flows through it.
                   Answer: Orva
        retrieval  <StartSearch>Ada Brenlow<EndSearch>[Ada Brenlow: Ada Brenlow painted landscapes. She was ...]
                   <StartSearch>Tellmark<EndSearch>[Tellmark: Tellmark is a small town. The river Orva flows ...]
                   Answer: Orva

    The chain of thought is the file's supporting facts. A search finds the paragraph that matches it best by BM25,
    including paragraphs of the shots. The wording, the shots and the choice of paragraphs are ours, since the paper
    doesn't specify them.

    Args:
        tokenizer: The folder of a pretrained model, with its `tokenizer.json`.
        file: The questions to evaluate, hotpot_dev_distractor_v1.json or a file in its format.
        train_file: The questions to train on, such as hotpot_train_v1.1.json; `fit` needs it.
        shots: A file of solved questions in the same format, which all come before each question; none if absent.
        order: required (the paragraphs in a random order, so that the model must find those that it needs) or free
            (the two gold paragraphs at the end).
        only: A file with ids of questions, one per line; other questions are not evaluated.
        most_paragraphs: Questions with fewer paragraphs are left out, so all sizes up to it have the same questions.
        sha256: The sha256 of tokenizer.json, entered by the command; another tokenizer is refused.
        held_out: Number of questions at the end of `train_file` that are for validation, not for training; if absent,
            validation asks the questions of `file`.
    """

    retriever = PassageRetriever()

    def __init__(
        self,
        tokenizer: Path,
        file: Path,
        train_file: Path | None = None,
        shots: Path | None = None,
        order: Order = "required",
        only: Path | None = None,
        most_paragraphs: int = 8,
        sha256: str | None = None,
        held_out: int | None = None,
    ) -> None:
        super().__init__(tokenizer, sha256)
        check_choice("order", order, get_args(Order))
        check_between("most_paragraphs", most_paragraphs, _FEWEST, _MOST, f"{_ARGUMENTS}.most_paragraphs")
        self.file, self.train_file, self.shots, self.only = file, train_file, shots, only
        self.order: Order = order
        self.most_paragraphs = most_paragraphs
        self._shots = [] if shots is None else read_questions(Path(shots), f"{_ARGUMENTS}.shots")
        self._evaluated = read_questions(Path(file), f"{_ARGUMENTS}.file", most_paragraphs)
        if only is not None:
            self._evaluated = keep_only(self._evaluated, Path(only))
        self._questions: list[Question] = []
        if train_file is not None:
            self._questions = read_questions(Path(train_file), f"{_ARGUMENTS}.train_file", most_paragraphs)
        self._check_apart()
        self.held_out = held_out
        self._validated = self._evaluated if held_out is None else self._hold_out(held_out)

    @property
    def evaluation(self) -> "HotpotQA":
        """The same task with the questions of `file`, one after the other."""
        return self._asking(self._evaluated)

    @property
    def validation(self) -> "HotpotQA":
        """The same task with the questions that are held out, or those of `file`."""
        return self._asking(self._validated)

    def _asking(self, questions: list[Question]) -> "HotpotQA":
        other = copy(self)
        other._questions, other.num_problems = questions, len(questions)
        return other

    def _hold_out(self, count: int) -> list[Question]:
        """Remove the last training questions, and return them."""
        if self.train_file is None:
            raise UserError(f"{_ARGUMENTS}.held_out takes questions of train_file, which is not set; set both")
        check_between("held_out", count, 1, len(self._questions) - 1, f"{_ARGUMENTS}.held_out")
        self._questions, last = self._questions[:-count], self._questions[-count:]
        return last

    def about(self, problem: int) -> dict[str, int | str]:
        """Id and order of a question; see `Task.about`."""
        return {"id": self._questions[problem].id, "order": self.order}

    def judge(self, given: str, right: str) -> bool:
        """Whether an answer is right: an exact match by HotpotQA's rule."""
        return exact_match(given, right)

    def draw(self, rng: np.random.Generator, size: int) -> Asked:
        """A question to train on."""
        if not self._questions:
            raise UserError(
                f"the questions of {self.file} are for evaluation, and fit needs others; set {_ARGUMENTS}.train_file, "
                "such as hotpot_train_v1.1.json (show and write have --split test)"
            )
        return Asked(self._questions[int(rng.integers(len(self._questions)))], size)

    def dialogue(self, seed: int, index: int, size: int, regime: Regime) -> Dialogue:
        """The dialogue of a sample; in evaluation, that of the question with this index."""
        if self.num_problems is None:
            return super().dialogue(seed, index, size, regime)
        return self.write_dialogue(Asked(self._questions[index], size), regime)

    def write_dialogue(self, problem: Asked, regime: Regime) -> Dialogue:
        """Write the prompt (after the shots), the reply and the answer; see `TextTask`."""
        shots = "".join(self._solved(question, regime) for question in self._shots)
        question = problem.question
        prompt = self._prompt(question, problem.number)
        return Dialogue(shots + prompt, _reply(question, regime), question.answer)

    def longest_reply(self, size: int, regime: Regime) -> int:
        """Twice the longest reply among the questions of `file` with the longest gold paragraphs."""
        lengths = [sum(len(one.paragraphs[title]) for title in one.gold) + len(one.answer) for one in self._evaluated]
        return self.evaluation._probe(size, regime, np.argsort(lengths)[-self.num_probed :].astype(np.int64))

    def check_size(self, size: int) -> None:
        """Raise `UserError` for fewer than the two gold paragraphs, or more than all questions have."""
        check_between("size", size, _FEWEST, self.most_paragraphs, f"data.sizes or {_ARGUMENTS}.most_paragraphs")

    def _prompt(self, question: Question, number: int) -> str:
        paragraphs = (f"- {title}: {text}\n" for title, text in question.choose(number, self.order))
        return f"{''.join(paragraphs)}Question: {question.question}\n"

    def _solved(self, question: Question, regime: Regime) -> str:
        """The text of a solved question (a shot), with all its paragraphs."""
        prompt, reply = self._prompt(question, len(question.paragraphs)), _reply(question, regime)
        for query in _queries(question) if regime == "retrieval" else ():
            found = self.retriever.search(query, prompt) or SPECIAL_WORDS[FAILED]
            reply = reply.replace(search := f"<StartSearch>{query}<EndSearch>", f"{search}{found}\n")
        return f"{prompt}{reply}\n"

    def _check_apart(self) -> None:
        """Raise `UserError` if a question for evaluation is also a training question or a shot."""
        evaluated = {question.id for question in self._evaluated}
        others = {"train_file": (self.train_file, self._questions), "shots": (self.shots, self._shots)}
        for name, (file, questions) in others.items():
            if both := [question.id for question in questions if question.id in evaluated]:
                raise UserError(
                    f"{file} must have other questions than {self.file}, got {len(both)} of the same, such as "
                    f"{both[0]!r}; set another file in {_ARGUMENTS}.{name}"
                )


def _reply(question: Question, regime: Regime) -> str:
    steps = {
        "vanilla": "",
        "cot": "".join(f"{title}: {sentence}\n" for title, sentence in question.facts),
        "retrieval": "".join(f"<StartSearch>{query}<EndSearch>" for query in _queries(question)),
    }
    return f"{steps[regime]}Answer: {question.answer}\n"


def _queries(question: Question) -> tuple[str, ...]:
    """The queries of a question: the titles of its gold paragraphs."""
    return question.gold
