"""Finished conversations."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lit_retrieval.conversation.author import Author, Authors
from lit_retrieval.conversation.turns import Places
from lit_retrieval.vocabulary import PAD, Ids, Vocabulary

UNDECIDED = -1


class Reply(NamedTuple):
    """A finished conversation.

    Args:
        tokens: All token ids, from the first of the prompt, `(time,)`.
        author: The `Author` of each, `(time,)`.
        answers: The model's answers, UNDECIDED where it gave none, `(answers,)`.
        num_searches: Number of searches that were run.
        num_timeouts: Number of searches that took too long, and so found nothing.
    """

    tokens: list[int]
    author: list[int]
    answers: list[int]
    num_searches: int
    num_timeouts: int = 0


class Replies:
    """The replies of a batch: indexing creates a `Reply` for a row.

    Args:
        tokens: Token ids, `(rows, time)`.
        author: The `Author` of each, `(rows, time)`.
        length: Tokens of each row, `(rows,)`.
        answers: The model's answers, UNDECIDED where it gave none, then PAD, `(rows, answers)`.
        num_searches, num_timeouts: As in `Reply`, `(rows,)`.
    """

    def __init__(
        self, tokens: Ids, author: Authors, length: Places, answers: Ids, num_searches: Places, num_timeouts: Places
    ) -> None:
        self.tokens, self.author, self.length = tokens, author, length
        self.answers, self.num_searches, self.num_timeouts = answers, num_searches, num_timeouts

    @classmethod
    def join(cls, parts: Sequence[tuple[Places, "Replies"]]) -> "Replies":
        """Join the replies of parts of a batch; each part has row indices `(rows,)` and the replies of these rows."""
        order = np.argsort(np.concatenate([rows for rows, _ in parts]))
        names = ("tokens", "author", "length", "answers", "num_searches", "num_timeouts")
        arrays: Any = (_stack([getattr(one, name) for _, one in parts])[order] for name in names)
        return cls(*arrays)

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


def words_with_answers(reply: Reply, vocabulary: Vocabulary) -> list[str]:
    """The words of a conversation; an answer beside a user's word is in braces before this word."""
    answers = ("undecided" if one == UNDECIDED else vocabulary.words[one] for one in reply.answers)
    return [
        f"{{{next(answers)}}} {word}" if by == Author.ASKED else word
        for word, by in zip(vocabulary.decode(reply.tokens), reply.author, strict=True)
    ]


def _stack(parts: Sequence[npt.NDArray[np.generic]]) -> npt.NDArray[np.generic]:
    """Stack arrays by rows; arrays of two dimensions are padded at the right with PAD, which is 0."""
    width = max(one.shape[-1] for one in parts)
    return np.concatenate([one if one.ndim == 1 else np.pad(one, ((0, 0), (0, width - one.shape[1]))) for one in parts])
