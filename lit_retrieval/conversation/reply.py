"""Finished conversations."""

from collections.abc import Iterator
from typing import NamedTuple

from lit_retrieval.conversation.author import Authors
from lit_retrieval.conversation.turns import Places
from lit_retrieval.vocabulary import PAD, Ids

UNDECIDED = -1


class Reply(NamedTuple):
    """A finished conversation.

    Args:
        tokens: All token ids, from the first of the prompt, `(time,)`.
        author: The `Author` of each, `(time,)`.
        answers: The model's answers, UNDECIDED where the tokens ran out before them, `(answers,)`.
        num_searches: How many searches were run.
        num_timeouts: How many of them took too long, and so found nothing.
    """

    tokens: list[int]
    author: list[int]
    answers: list[int]
    num_searches: int
    num_timeouts: int = 0


class Replies:
    """The replies of a batch: a `Reply` for each row, made when it is asked for.

    Args:
        tokens: Token ids, `(rows, time)`.
        author: The `Author` of each, `(rows, time)`.
        length: Tokens of each row, `(rows,)`.
        answers: The model's answers, UNDECIDED where the tokens ran out before them, then PAD, `(rows, answers)`.
        num_searches, num_timeouts: As in `Reply`, `(rows,)`.
    """

    def __init__(
        self, tokens: Ids, author: Authors, length: Places, answers: Ids, num_searches: Places, num_timeouts: Places
    ) -> None:
        self.tokens, self.author, self.length = tokens, author, length
        self.answers, self.num_searches, self.num_timeouts = answers, num_searches, num_timeouts

    def __len__(self) -> int:
        return len(self.length)

    def __getitem__(self, row: int) -> Reply:
        length, answers = self.length[row], self.answers[row]
        return Reply(
            self.tokens[row, :length].tolist(), self.author[row, :length].tolist(), answers[answers != PAD].tolist(),
            int(self.num_searches[row]), int(self.num_timeouts[row]),
        )  # fmt: skip

    def __iter__(self) -> Iterator[Reply]:
        return (self[row] for row in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Replies | list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]
