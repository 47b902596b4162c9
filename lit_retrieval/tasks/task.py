"""The interface of a task, and a batch of its transcripts."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Literal, get_args

import numpy as np

from lit_retrieval.conversation import (
    UNDECIDED,
    Author,
    Authors,
    Conversations,
    Reply,
    Span,
    TextConversations,
    Turns,
    asked_as_prompt,
    spans,
    words_with_answers,
)
from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_between
from lit_retrieval.retrieval import EitherFormRetriever, FaultyRetriever, PassageRetriever, Retriever
from lit_retrieval.tasks.random import Counts
from lit_retrieval.vocabulary import PAD, Ids, Vocabulary

Regime = Literal["vanilla", "cot", "retrieval"]
REGIMES: tuple[Regime, ...] = get_args(Regime)
QueryForm = Literal["short", "full"]
Distribution = Literal["random", "random_access_code"]


@dataclass(frozen=True)
class Transcripts:
    """A batch of transcripts, padded with `<pad>` at the right.

    Args:
        tokens: Token ids, `(batch, time)`.
        author: `Author` of each token, `(batch, time)`; each row has tokens of MODEL or of ASKED.
        length: Tokens in each row, `(batch,)`.
        prompt_length: Tokens before the model's first, or before the first of ASKED, `(batch,)`.
        answers: The right answers in the order of the questions, padded with PAD, `(batch, answers)`.
        sizes: Size of each problem, as the task defines it, `(batch,)`.
        distances: Tokens from each answer in the prompt to the end of its question, `(batch, answers)`; 0 if the answer
            is not in the prompt.
        kinds: Index of each problem's kind in the task's `kinds`, `(batch,)`.
    """

    tokens: Ids
    author: Authors
    length: Counts
    prompt_length: Counts
    answers: Ids
    sizes: Counts
    distances: Counts
    kinds: Counts

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: Counts) -> "Transcripts":
        """Select rows by their indices, `(rows,)`."""
        return Transcripts(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def turns(self, row: int) -> Iterator[Ids]:
        """What the user writes in this row, token ids `(time,)` each: the prompt, then what follows each answer."""
        is_user = self.author[row, : self.length[row]] == Author.PROMPT
        bounds = np.flatnonzero(np.diff(is_user, prepend=False, append=False)).reshape(-1, 2)
        return (self.tokens[row, start:stop] for start, stop in bounds)

    def spans(self, row: int) -> Iterator[Span]:
        """The spans of this row, each of one author."""
        return spans(self.author[row, : self.length[row]])

    def answers_of(self, row: int) -> list[int]:
        """The right answers of this row, without padding."""
        answers: list[int] = self.answers[row][self.answers[row] != PAD].tolist()
        return answers

    def text(self, row: int, vocabulary: Vocabulary) -> str:
        """This row as readable text: a line for the user's part of each turn, and a line for the reply.

        Results of searches are in [brackets], and answers that are asked for but not written are in {braces}.
        """
        reply, between, lines = self.reply(row), vocabulary.separator, []
        words = words_with_answers(reply, vocabulary)
        for _, turn in groupby(spans(asked_as_prompt(reply.author)), key=lambda span: span.author == Author.PROMPT):
            parts = (span.mark(between.join(words[span.start : span.stop])) for span in turn)
            lines.append(between.join(parts).rstrip("\n"))
        return "\n".join(lines)

    def reply(self, row: int) -> Reply:
        """This row as the reply of a perfect model."""
        tokens, author = (one[row, : self.length[row]].tolist() for one in (self.tokens, self.author))
        return Reply(tokens, author, self.answers_of(row), 0)


class Task(ABC):
    """Generates problems and the transcripts of their solutions; the base class of all tasks.

    Attributes:
        vocabulary: All words, for any size up to the largest.
        answer_words: Token ids of the answers; a turn ends when the model writes one, `(words,)`.
        chance: Share of right answers among blind guesses.
        regimes: The regimes that the task has.
        kinds: Names of the kinds of problems that are scored separately; empty if there is one kind.
        num_problems: Number of problems of each size, if they are read from a file; None if they are endless.
        retriever: Runs the searches of its transcripts, and those of a model unless `data.retriever` selects another.
    """

    vocabulary: Vocabulary
    answer_words: Ids
    chance: float
    regimes: tuple[Regime, ...] = REGIMES
    kinds: tuple[str, ...] = ()
    num_problems: int | None = None
    retriever: Retriever = EitherFormRetriever()

    @property
    def chances(self) -> tuple[float, ...]:
        """`chance` for each of the `kinds`; one number if there is one kind of problem."""
        return (self.chance,)

    @property
    def evaluation(self) -> "Task":
        """The task for test and prediction, with the same vocabulary; for most tasks the task itself."""
        return self

    @property
    def validation(self) -> "Task":
        """The task for validation, with the same vocabulary; `evaluation`, unless a task overrides it."""
        return self.evaluation

    def sample(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; sample i depends only on `(seed, i, size)` and the task's arguments.

        Raises `UserError` for a regime or a size that the task does not have.

        Args:
            seed: Seed of the sample stream, 0 to 2**64 - 1.
            indices: Indices of samples in the stream, `(batch,)`.
            sizes: Size of each, `(batch,)`.
            regime: `vanilla` (the answer alone), `cot` (a written algorithm first) or `retrieval` (with searches).
        """
        self.check_attributes()
        self.check_request(sizes, regime)
        return self.write(seed, indices, sizes, regime)

    def example(self, size: int, regime: Regime, index: int = 0, seed: int = 0) -> str:
        """One sample as readable text, see `Transcripts.text`; the arguments are those of `sample`."""
        return self.sample(seed, np.array([index]), np.array([size]), regime).text(0, self.vocabulary)

    def check_attributes(self) -> None:
        """Raise `UserError` unless the task has set its attributes; `super().__init__()` may be missing."""
        name = type(self).__name__
        if missing := [one for one in ("vocabulary", "answer_words", "chance") if not hasattr(self, one)]:
            raise UserError(f"{name} must have {' and '.join(missing)}; call super().__init__(...) in its __init__")
        check_between(f"chance of {name}", self.chance, 0, 1, "chance")

    def check_request(self, sizes: Counts, regime: Regime) -> None:
        """Raise `UserError` unless the task has the regime, and problems of all of the sizes, `(sizes,)`."""
        if regime not in self.regimes:
            raise UserError(
                f"regime must be {' or '.join(self.regimes)} for {type(self).__name__}, got {regime!r}; set data.regime"
            )
        for size in np.unique(sizes):
            self.check_size(int(size))

    @abstractmethod
    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Write transcripts; the regime and the sizes have been checked. See `sample`."""

    @property
    def estimates_lengths(self) -> bool:
        """Whether the latest `longest_reply` is an estimate, which a sample may exceed; False unless overridden."""
        return False

    @abstractmethod
    def longest_reply(self, size: int, regime: Regime) -> int:
        """An upper bound on the tokens after the prompt in a right transcript, retrieved ones included."""

    @abstractmethod
    def shortest_reply(self, regime: Regime) -> int:
        """A lower bound on the tokens after the prompt in a right transcript, for any size."""

    @abstractmethod
    def check_size(self, size: int) -> None:
        """Raise `UserError` if there are no problems of this size, or no words for them in the vocabulary."""

    def about(self, problem: int) -> dict[str, int | str]:
        """Columns for a problem in a test's file of answers, besides its size: its index, as `id`."""
        return {"id": problem}

    def longest_distance(self, size: int, regime: Regime) -> int:
        """An upper bound on the `distances` of problems of this size; 0 if answers are not in the prompt."""
        return 0

    def converse(
        self,
        turns: Turns | Sequence[Iterable[Ids]],
        retriever: Retriever,
        max_new_tokens: int | None = None,
        num_answers: Sequence[int] | None = None,
        right: Transcripts | None = None,
    ) -> Conversations | TextConversations:
        """New conversations about problems of this task, a row for each.

        Args:
            turns: What the user writes: for each row the prompt, then what follows each answer.
            retriever: Runs the queries.
            max_new_tokens: Tokens that may follow a prompt; no limit if absent.
            num_answers: Number of answers of each row; one in each turn if absent.
            right: The right transcripts, with which answers in text are compared; absent for a user's own prompts.
        """
        return Conversations(turns, self.answer_words.tolist(), retriever, self.vocabulary, max_new_tokens, num_answers)

    def answer_texts(self, reply: Reply) -> list[str | None]:
        """The answers of a reply, or of a right transcript, as readable text; None for an undecided answer."""
        return [None if answer == UNDECIDED else self.vocabulary.words[answer] for answer in reply.answers]

    def check_retriever(self, retriever: Retriever) -> None:
        """Raise `UserError` unless this retriever can answer the queries of the task."""
        while isinstance(retriever, FaultyRetriever):
            retriever = retriever.retriever
        if isinstance(retriever, PassageRetriever):
            retriever([], [], self.vocabulary)  # raises it

    def random_bits(self, size: int) -> int | None:
        """The number of fair, independent bits in a problem of this size, any one of which may be queried.

        None if the problems are not random-access codes; the ceiling of Theorem 4.6 does not apply then.
        """
        return None


def check_words(task: Task, what: str) -> None:
    """Raise `UserError` for a task in text, since `what` needs a task in words."""
    if task.vocabulary.is_text:
        raise UserError(f"{what} needs a task in words, got {type(task).__name__}, which is in text; set another task")


def check_range(size: int, smallest: int, max_size: int) -> None:
    """Raise `UserError` unless `size` is from `smallest` to `max_size`."""
    check_between("size", size, smallest, max_size, "data.sizes or data.task.init_args.max_size")
