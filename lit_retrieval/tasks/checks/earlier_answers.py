"""What earlier answers in a context tell of later ones, to a guesser who has recalled nothing."""

from collections import Counter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lit_retrieval.conversation import Author
from lit_retrieval.tasks.checks.case import Case
from lit_retrieval.tasks.task import Transcripts
from lit_retrieval.vocabulary import Ids


class Guesses(NamedTuple):
    """Shares of right answers of guessers who know how often the user has written each word so far, not where.

    Args:
        bag: Of the one who says the answer word that came most often.
        elimination: Of the one who does not count words that earlier answers have used up.
        repetition: Of the one who says the last answer again.
    """

    bag: float
    elimination: float
    repetition: float


def tells_by_earlier_answers(case: Case) -> str:
    """How many answers can be guessed from those before them; it reports, and is never broken."""
    found = guess(case.sample(case.regimes[0]), case.task.answer_words)
    if found is None:
        return "no answer is written after another"
    return f"guessed {found.bag:.2f}, by elimination {found.elimination:.2f}, by repetition {found.repetition:.2f}"


def guess(transcripts: Transcripts, answer_words: Ids) -> Guesses | None:
    """The guesses at the answers of transcripts without searches; None unless an answer is written after another.

    Args:
        transcripts: The transcripts; answers beside the user's words are not in the context, and are left out.
        answer_words: The task's, `(words,)`.
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
    """The right guesses of each guesser in a row; all say `last` where they know nothing."""
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
    """The word with the highest count; of several the first in the vocabulary, whose places tell nothing."""
    word = max(counts, key=lambda one: (counts[one], -one), default=default)
    return word if counts[word] > 0 else default
