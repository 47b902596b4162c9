"""Measures how well later answers can be guessed from earlier answers in the context, without recall."""

from collections import Counter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lit_retrieval.conversation import Author
from lit_retrieval.tasks.checks.case import Case
from lit_retrieval.tasks.task import Transcripts
from lit_retrieval.vocabulary import Ids


class Guesses(NamedTuple):
    """Accuracy of three guessers who know how often the user has written each word so far, but not where.

    Args:
        bag: Guesses the most frequent answer word.
        elimination: Guesses the most frequent answer word that earlier answers have not used up.
        repetition: Repeats the last answer.
    """

    bag: float
    elimination: float
    repetition: float


def tells_by_earlier_answers(case: Case) -> str:
    """Reports the share of answers that can be guessed from earlier ones; this rule is never broken."""
    found = guess(case.sample(case.regimes[0]), case.task.answer_words)
    if found is None:
        return "no answer is written after another"
    return f"guessed {found.bag:.2f}, by elimination {found.elimination:.2f}, by repetition {found.repetition:.2f}"


def guess(transcripts: Transcripts, answer_words: Ids) -> Guesses | None:
    """Guess the answers of transcripts without searches; None unless an answer is written after another.

    Args:
        transcripts: The transcripts; answers beside the user's words are not in the context, and are left out.
        answer_words: The answer words of the task, `(words,)`.
    """
    written = np.isin(transcripts.tokens, answer_words) & (transcripts.author == Author.MODEL)
    rows = np.flatnonzero(written.sum(1) > 1)
    if not len(rows):
        return None
    first = int(answer_words[0])
    right = np.sum(
        [_guess_row(transcripts, row, written[row], set(answer_words.tolist()), first) for row in rows.tolist()], 0
    )
    return Guesses(*(right / written[rows].sum()).tolist())


def _guess_row(
    transcripts: Transcripts, row: int, is_answer: npt.NDArray[np.bool_], words: set[int], last: int
) -> tuple[int, int, int]:
    """The number of right guesses of each guesser in a row; without information, all guess `last`."""
    bag: Counter[int] = Counter()
    left: Counter[int] = Counter()
    right = [0, 0, 0]
    tokens, author = transcripts.tokens[row].tolist(), transcripts.author[row].tolist()
    for token, by, answers in zip(tokens, author, is_answer.tolist(), strict=True):
        if answers:
            for guesser, guessed in enumerate((_most(bag, last), _most(left, last), last)):
                right[guesser] += guessed == token
            left[token] -= 1
            last = token
        elif by == Author.PROMPT and token in words:
            bag[token] += 1
            left[token] += 1
    return right[0], right[1], right[2]


def _most(counts: Counter[int], default: int) -> int:
    """The word with the highest count; for equal counts, the first in the vocabulary, whose order tells nothing."""
    word = max(counts, key=lambda one: (counts[one], -one), default=default)
    return word if counts[word] > 0 else default
