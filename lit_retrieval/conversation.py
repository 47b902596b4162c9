"""One conversation between a user, a model and a retriever: the rules by which data is written and models decode."""

import math
from collections import deque
from collections.abc import Container, Iterable, Iterator, Sequence
from enum import IntEnum
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lit_retrieval.errors import UserError
from lit_retrieval.retrieval import Context, Retriever
from lit_retrieval.vocabulary import FAILED, PAD, Ids, Vocabulary

UNDECIDED = -1


class Author(IntEnum):
    """Who wrote a token of a transcript; a model is trained and scored on the tokens of MODEL alone."""

    PAD = 0
    PROMPT = 1
    MODEL = 2
    RETRIEVER = 3


class Reply(NamedTuple):
    """A finished conversation.

    Args:
        tokens: All token ids, from the first of the prompt, `(time,)`.
        author: Who wrote each, `(time,)`.
        answers: The model's answers, UNDECIDED where the tokens ran out before them, `(answers,)`.
        num_searches: How many searches were run.
        num_timeouts: How many of them took too long, and so found nothing.
    """

    tokens: list[int]
    author: list[Author]
    answers: list[int]
    num_searches: int
    num_timeouts: int = 0


class Conversation:
    """A conversation about one problem, token by token.

    A turn ends when the model writes an answer token outside a search; the user then writes the next turn. The last
    turn continues until all answers have been given. When the model writes `<EndSearch>`, the retriever answers in the
    tokens that follow. Tokens of the user and of the retriever wait in a queue and are forced on the model.

    Args:
        turns: What the user writes: the prompt, then what follows each answer, token ids `(time,)` each.
        answer_tokens: Token ids that end a turn when the model writes one.
        retriever: Runs the queries.
        vocabulary: The words of the token ids.
        max_new_tokens: Tokens that may follow the prompt; no limit if absent.
        num_answers: Answers that are asked for; one in each turn if absent.
    """

    def __init__(
        self,
        turns: Iterable[Ids],
        answer_tokens: Container[int],
        retriever: Retriever,
        vocabulary: Vocabulary,
        max_new_tokens: int | None = None,
        num_answers: int | None = None,
    ) -> None:
        self.tokens: list[int] = []
        self.author: list[Author] = []
        self.answers: list[int] = []
        self._turns = deque(turns)
        self._num_answers = len(self._turns) if num_answers is None else num_answers
        self._answer_tokens, self._retriever, self._vocabulary = answer_tokens, retriever, vocabulary
        self._forced: deque[tuple[int, Author]] = deque()
        self._context = Context()
        self._num_searches = self._num_timeouts = 0
        self._limit = math.inf if max_new_tokens is None else len(self._turns[0]) + max_new_tokens
        self._begin_turn()

    @property
    def num_forced(self) -> int:
        """How many tokens are certain to come next."""
        return len(self._forced)

    @property
    def is_finished(self) -> bool:
        """Whether all answers have been given, or the token limit is reached."""
        return len(self.answers) == self._num_answers or len(self.tokens) >= self._limit

    def step(self, choice: int) -> int:
        """Take the next token: a forced one if one waits, else the model's `choice`; returns the token taken."""
        token, author = self._forced.popleft() if self._forced else (choice, Author.MODEL)
        self.tokens.append(token)
        self.author.append(author)
        if author == Author.RETRIEVER:
            if not self._forced:
                self._context.close_search()
        elif (query := self._context.write(token)) is not None and author == Author.MODEL:
            self._search(query)
        elif author == Author.MODEL and token in self._answer_tokens and not self._context.is_searching:
            self.answers.append(token)
            self._begin_turn()
        return token

    def take_forced(self) -> None:
        """Take all tokens that are certain to come next."""
        while self._forced:
            self.step(PAD)

    def reply(self) -> Reply:
        """The conversation as it stands."""
        undecided = [UNDECIDED] * (self._num_answers - len(self.answers))
        return Reply(self.tokens, self.author, self.answers + undecided, self._num_searches, self._num_timeouts)

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
        self._check_found(found)
        self._forced.extend((int(token), Author.RETRIEVER) for token in found)

    def _check_found(self, found: Ids) -> None:
        """Raise `UserError` unless a retriever returned at least one token of the vocabulary."""
        is_array = isinstance(found, np.ndarray) and found.ndim == 1 and np.issubdtype(found.dtype, np.integer)
        if not is_array or not len(found) or not 0 <= found.min() <= found.max() < len(self._vocabulary):
            name = getattr(self._retriever, "__name__", type(self._retriever).__name__)  # a function has its own
            raise UserError(
                f"{name} must return an array of one or more token ids from 0 to "
                f"{len(self._vocabulary) - 1}, got {found!r}; return [FAILED] where nothing matches"
            )


class Span(NamedTuple):
    """Consecutive tokens of one author: those of a transcript from `start` up to `stop`."""

    author: Author
    start: int
    stop: int

    def mark(self, text: str, opening: str = "[", closing: str = "]") -> str:
        """The span's text as people read it: what the retriever wrote is in brackets."""
        return f"{opening}{text}{closing}" if self.author == Author.RETRIEVER else text


def spans(author: npt.NDArray[np.int8] | Sequence[int]) -> Iterator[Span]:
    """The spans of a transcript whose tokens have these authors, `(time,)`, in their order."""
    authors = np.asarray(author, np.int8)
    bounds = [0, *(np.flatnonzero(np.diff(authors)) + 1).tolist(), len(authors)]
    for start, stop in pairwise(bounds):
        if start < stop:
            yield Span(Author(int(authors[start])), start, stop)
