"""One row of a decoding run: what its user and its retriever force on the model, and what the model has answered."""

from collections import deque
from collections.abc import Container, Iterable
from typing import NamedTuple

import numpy as np

from lit_retrieval.retrieval import Context, Retriever
from lit_retrieval.tasks import Author
from lit_retrieval.vocabulary import FAILED, Ids, Vocabulary

UNDECIDED = -1


class Reply(NamedTuple):
    """A finished row.

    Args:
        tokens: All ids, from the first word of the prompt, `(time,)`.
        author: Who wrote each, `(time,)`.
        answers: The model's answers, UNDECIDED where the budget ran out before them, `(answers,)`.
        num_searches: How many searches were run.
        num_timeouts: How many of them took too long, and so found nothing.
    """

    tokens: list[int]
    author: list[Author]
    answers: list[int]
    num_searches: int
    num_timeouts: int = 0


class Session:
    """The conversation with one model about one problem.

    A turn ends when the model writes an answer word outside a search; the user then writes the next turn. The last turn
    goes on until all answers have been given. When the model writes `<EndSearch>`, the retriever answers in the words
    that follow. What is forced on the model waits in a queue.

    Args:
        turns: What the user writes: the prompt, then what follows each answer, ids `(time,)` each.
        answer_words: Ids that end a turn when the model writes one.
        retriever: What runs a query.
        vocabulary: The words behind the ids.
        budget: Words that may follow the prompt.
        num_answers: Answers that are asked for; one in each turn if absent.
    """

    def __init__(
        self,
        turns: Iterable[Ids],
        answer_words: Container[int],
        retriever: Retriever,
        vocabulary: Vocabulary,
        budget: int,
        num_answers: int | None = None,
    ) -> None:
        self._turns = deque(turns)
        self._num_answers = len(self._turns) if num_answers is None else num_answers
        self._answer_words = answer_words
        self._retriever = retriever
        self._vocabulary = vocabulary
        self._forced: deque[tuple[int, Author]] = deque()
        self._context = Context()
        self._tokens: list[int] = []
        self._author: list[Author] = []
        self._answers: list[int] = []
        self._num_searches = 0
        self._num_timeouts = 0
        self._limit = len(self._turns[0]) + budget
        self._begin_turn()

    @property
    def num_forced(self) -> int:
        """How many words are certain to come next."""
        return len(self._forced)

    @property
    def is_finished(self) -> bool:
        """Whether all answers have been given, or the budget is spent."""
        return len(self._answers) == self._num_answers or len(self._tokens) >= self._limit

    def step(self, choice: int) -> int:
        """Take the next word: a forced one if one waits, else the model's `choice`; returns the word taken."""
        token, author = self._forced.popleft() if self._forced else (choice, Author.MODEL)
        self._tokens.append(token)
        self._author.append(author)
        if author == Author.RETRIEVER:
            if not self._forced:
                self._context.close_search()
        elif (query := self._context.write(token)) is not None and author == Author.MODEL:
            self._search(query)
        elif author == Author.MODEL and token in self._answer_words and not self._context.is_searching:
            self._answers.append(token)
            self._begin_turn()
        return token

    def reply(self) -> Reply:
        """The row as it stands."""
        undecided = [UNDECIDED] * (self._num_answers - len(self._answers))
        return Reply(self._tokens, self._author, self._answers + undecided, self._num_searches, self._num_timeouts)

    def _begin_turn(self) -> None:
        if self._turns:
            self._forced.extend((int(token), Author.PROMPT) for token in self._turns.popleft())

    def _search(self, query: Ids) -> None:
        self._num_searches += 1
        try:
            found = self._retriever(self._context.visible, query, self._vocabulary)
        except TimeoutError:
            self._num_timeouts += 1
            found = np.array([FAILED], np.int32)
        self._forced.extend((int(token), Author.RETRIEVER) for token in found)
