"""Runs conversations token by token: many at a time for decoding, or a single one."""

from collections.abc import Iterable, Sequence

import numpy as np

from lit_retrieval.conversation import rules
from lit_retrieval.conversation.reply import UNDECIDED, Replies, Reply
from lit_retrieval.conversation.rules import NONE, Rows, Rules
from lit_retrieval.conversation.turns import Places, Turns
from lit_retrieval.errors import UserError, one_line
from lit_retrieval.retrieval import Retriever, short_words
from lit_retrieval.vocabulary import FAILED, PAD, Ids, Vocabulary

_NO_LIMIT = np.iinfo(np.int64).max
ROOM = 256  # tokens after the prompts for which there is room at first


class Conversations:
    """Conversations in the rows of a batch; each step adds one token to each row.

    A turn ends when the model writes an answer token outside a search; the user then writes the next turn. The last
    turn continues until all answers have been given. After the model writes `<EndSearch>`, the retriever's result
    follows. Tokens of the user and the retriever are forced: they replace the model's choices.

    Args:
        turns: What the user writes: for each row the prompt, then what follows each answer.
        answer_tokens: Token ids that end a turn when the model writes one.
        retriever: Runs the queries; if None, no results are inserted.
        vocabulary: The words of the token ids.
        max_new_tokens: Tokens that may follow the prompt; no limit if absent.
        num_answers: Number of answers expected in each row, `(rows,)`; one per turn if absent.
    """

    def __init__(
        self,
        turns: Turns | Sequence[Iterable[Ids]],
        answer_tokens: Iterable[int],
        retriever: Retriever | None,
        vocabulary: Vocabulary,
        max_new_tokens: int | None = None,
        num_answers: Sequence[int] | Places | None = None,
    ) -> None:
        turns = turns if isinstance(turns, Turns) else Turns.join(turns)
        self._retriever, self._vocabulary = retriever, vocabulary
        counts = np.diff(turns.firsts) if num_answers is None else np.asarray(num_answers, np.int64)
        prompts = turns.lengths[turns.firsts[:-1]]
        limit = np.full(len(counts), _NO_LIMIT) if max_new_tokens is None else prompts + max_new_tokens
        is_answer = np.zeros(len(vocabulary), np.bool_)
        is_answer[[token for token in answer_tokens if 0 <= token < len(vocabulary)]] = True
        short = short_words(retriever, vocabulary)
        self._rules = Rules(turns, limit, counts, is_answer, short, vocabulary.numbers)
        self._longest_turn = int(turns.lengths.max(initial=1))
        self._rows = _blank(turns, counts, int(prompts.max(initial=0)) + self._longest_turn + ROOM)
        rules.begin(self._rows, turns)

    def __len__(self) -> int:
        return len(self._rows.length)

    @property
    def rows(self) -> Rows:
        """The conversations as arrays."""
        return self._rows

    @property
    def is_finished(self) -> rules.Flags:
        """Whether all answers have been given or the token limit is reached, `(rows,)`."""
        return self._rows.is_finished

    @property
    def num_certain(self) -> Places:
        """Number of forced tokens that come next, `(rows,)`."""
        return self._rows.certain - self._rows.length

    def step(self, choices: Places, live: Places | None = None) -> Places:
        """Add the next token to each row: a forced token if there is one, else the model's choice.

        Args:
            choices: The model's choice for each of the rows, `(live,)`.
            live: The rows to step, `(live,)`; all if absent.

        Returns:
            The tokens added, PAD in rows that are finished, `(live,)`.
        """
        live = np.arange(len(self)) if live is None else live
        self._make_room(1 + self._longest_turn)
        taken = np.empty(len(live), np.int64)
        for row in rules.step(self._rows, self._rules, live, choices, taken):
            self._search(int(row))
        return taken

    def write(self, row: int, words: Ids) -> None:
        """Write `words (time,)` as the model's tokens in a row; forced tokens that come before each are added first."""
        _, starts, firsts = self._rules.turns
        of_user = int(starts[firsts[row + 1]] - starts[firsts[row]])
        while len(words):
            self._make_room(2 * len(words) + of_user)
            done, is_waiting = rules.write(self._rows, self._rules, row, words)
            words = words[done:]
            if is_waiting:
                self._search(row)

    def replies(self) -> Replies:
        """The current state of the conversations as replies."""
        rows, longest = self._rows, int(self._rows.length.max(initial=0))
        place = np.arange(rows.answers.shape[1])
        answers = np.where(place < rows.num_given[:, None], rows.answers, UNDECIDED)
        answers[place >= self._rules.num_answers[:, None]] = PAD
        return Replies(
            rows.tokens[:, :longest], rows.author[:, :longest], rows.length, answers, rows.num_searches,
            rows.num_timeouts,
        )  # fmt: skip

    def _search(self, row: int) -> None:
        """Run the query that a row has just ended, and force its result."""
        if self._retriever is None:
            self._rows.query[row] = NONE
            return
        context, query = rules.visible(self._rows, row).copy(), rules.query_of(self._rows, row).copy()
        try:
            found = self._retriever(context, query, self._vocabulary)
        except TimeoutError:
            self._rows.num_timeouts[row] += 1
            found = np.array([FAILED], np.int32)
        tokens = self._read_found(found)
        self._make_room(len(tokens))
        rules.insert(self._rows, row, tokens)

    def _read_found(self, found: object) -> Ids:
        """The tokens that a retriever returned; raises `UserError` unless they are one or more of the vocabulary."""
        try:
            tokens = np.asarray(found)
        except (TypeError, ValueError):  # such as rows of several lengths
            tokens = np.empty(0)
        is_row = tokens.ndim == 1 and len(tokens) > 0 and np.issubdtype(tokens.dtype, np.integer)
        if not is_row or not 0 <= tokens.min() <= tokens.max() < len(self._vocabulary):
            name = getattr(self._retriever, "__name__", type(self._retriever).__name__)  # a function has its own
            raise UserError(
                f"{name} must return an array or a list of one or more token ids from 0 to "
                f"{len(self._vocabulary) - 1}, got {one_line(repr(found)):.80}; return [FAILED] where nothing matches"
            )
        return tokens.astype(np.int32)

    def _make_room(self, count: int) -> None:
        """Double the capacity if a row may not have room for `count` more tokens."""
        rows = self._rows
        needed, capacity = int(rows.certain.max(initial=0)) + count, rows.tokens.shape[1]
        if needed > capacity:
            wide = _blank(self._rules.turns, self._rules.num_answers, max(needed, 2 * capacity))
            wide.tokens[:, :capacity] = rows.tokens
            wide.author[:, :capacity] = rows.author
            wide.visible[:, :capacity] = rows.visible
            self._rows = Rows(wide.tokens, wide.author, wide.visible, *rows[3:])


def _blank(turns: Turns, num_answers: Places, capacity: int) -> Rows:
    """Rows without tokens, with room for so many."""
    count = len(num_answers)
    seen, length, certain, given, searches, timeouts = (np.zeros(count, np.int64) for _ in range(6))
    return Rows(
        np.zeros((count, capacity), np.int32), np.zeros((count, capacity), np.int8),
        np.zeros((count, capacity), np.int32), seen, length, certain, np.full(count, NONE), turns.firsts[:-1].copy(),
        np.zeros((count, int(num_answers.max(initial=0))), np.int32), given, searches, timeouts, num_answers == 0,
    )  # fmt: skip


class Conversation:
    """A single conversation; see `Conversations`.

    Args:
        turns: What the user writes: the prompt, then what follows each answer, token ids `(time,)` each.
        answer_tokens, retriever, vocabulary, max_new_tokens: As in `Conversations`.
        num_answers: Number of answers expected; one per turn if absent.
    """

    def __init__(
        self,
        turns: Iterable[Ids],
        answer_tokens: Iterable[int],
        retriever: Retriever,
        vocabulary: Vocabulary,
        max_new_tokens: int | None = None,
        num_answers: int | None = None,
    ) -> None:
        counts = None if num_answers is None else [num_answers]
        self._one = Conversations([turns], answer_tokens, retriever, vocabulary, max_new_tokens, counts)

    @property
    def num_forced(self) -> int:
        """Number of forced tokens that come next."""
        return int(self._one.num_certain[0])

    @property
    def is_finished(self) -> bool:
        """Whether all answers have been given, or the token limit is reached."""
        return bool(self._one.is_finished[0])

    @property
    def tokens(self) -> list[int]:
        """The tokens so far."""
        return self.reply().tokens

    @property
    def author(self) -> list[int]:
        """The author of each token."""
        return self.reply().author

    @property
    def answers(self) -> list[int]:
        """The answers so far."""
        return [answer for answer in self.reply().answers if answer != UNDECIDED]

    def step(self, choice: int) -> int:
        """Add the next token: a forced one if there is one, else `choice`; returns it, PAD once finished."""
        return int(self._one.step(np.array([choice]))[0])

    def take_forced(self) -> None:
        """Add all forced tokens that come next."""
        while self.num_forced and not self.is_finished:
            self.step(PAD)

    def write(self, words: Ids) -> None:
        """Write `words (time,)` as the model's tokens; forced tokens that come before each are added first."""
        self._one.write(0, words)

    def reply(self) -> Reply:
        """The current state of the conversation as a reply."""
        return self._one.replies()[0]
