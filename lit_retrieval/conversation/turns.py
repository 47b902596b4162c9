"""What the user writes in each of many conversations."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lit_retrieval.conversation.author import Author, Authors
from lit_retrieval.vocabulary import Ids

Places = npt.NDArray[np.int64]  # rows, positions, or numbers of tokens


class Turns(NamedTuple):
    """The user's turns in several rows: the prompt, then what follows each answer.

    Args:
        tokens: The tokens of all turns of all rows, one after the other, `(tokens,)`.
        starts: Where each turn begins in `tokens`, and where the last one ends, `(turns + 1,)`.
        firsts: Index of the first turn of each row, and the number of turns, `(rows + 1,)`.
    """

    tokens: Ids
    starts: Places
    firsts: Places

    @classmethod
    def join(cls, rows: Sequence[Iterable[Ids]]) -> "Turns":
        """Turns from rows of arrays of token ids, `(time,)` each."""
        turns = [[np.asarray(turn, np.int32) for turn in row] for row in rows]
        flat = [turn for row in turns for turn in row]
        tokens = np.concatenate(flat) if flat else np.empty(0, np.int32)
        return cls(tokens, _add_up([len(turn) for turn in flat]), _add_up([len(row) for row in turns]))

    @classmethod
    def of(cls, tokens: Ids, author: Authors) -> "Turns":
        """The user's turns of transcripts: the runs of PROMPT in `author`, from `tokens`; both `(rows, time)`."""
        is_user = author == Author.PROMPT
        begins = is_user.copy()
        begins[:, 1:] &= ~is_user[:, :-1]
        starts = np.flatnonzero(begins[is_user])
        return cls(tokens[is_user], np.append(starts, is_user.sum()), _add_up(begins.sum(1)))

    @property
    def lengths(self) -> Places:
        """The number of tokens in each turn, `(turns,)`."""
        return np.diff(self.starts)


def _add_up(counts: Sequence[int] | Places) -> Places:
    """The cumulative sums of counts, with a 0 in front."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
