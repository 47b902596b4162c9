"""Runs conversations in text token by token, many at a time, for decoding and for writing transcripts."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from lit_retrieval.conversation.author import Author
from lit_retrieval.conversation.conversation import ROOM
from lit_retrieval.conversation.reply import UNDECIDED, Replies
from lit_retrieval.conversation.rules import Flags
from lit_retrieval.conversation.text_reader import Ending, TextReader
from lit_retrieval.conversation.turns import Places, Turns
from lit_retrieval.errors import UserError
from lit_retrieval.tokens import Tokens
from lit_retrieval.vocabulary import FAILED, PAD, SPECIAL_WORDS, Ids

RIGHT, WRONG = 1, 2  # the answers of conversations in text, in place of a word's id
_FAILED = SPECIAL_WORDS[FAILED]


class TextConversations:
    """Conversations in text, with the same interface for decoders as `Conversations`.

    `TextReader` finds the search marks and the answer in the model's text. The result of a search follows as a separate
    line. Each author's piece of text is tokenized separately. A conversation ends at its one answer, at the model's end
    of text, or at the token limit.

    Args:
        turns: What the user writes: only the prompt of each row.
        tokens: The tokenizer.
        retriever: Runs the queries with its `search(query, text)`; if None, no results are inserted.
        ending: Finds the answer in the model's text.
        judge: Tells whether an answer of a row is right; if absent, no answer is right.
        max_new_tokens: Tokens that may follow the prompt; no limit if absent.
    """

    def __init__(
        self,
        turns: Turns | Sequence[Iterable[Ids]],
        tokens: Tokens,
        retriever: Any,
        ending: Ending,
        judge: Callable[[int, str], bool] | None = None,
        max_new_tokens: int | None = None,
    ) -> None:
        turns = turns if isinstance(turns, Turns) else Turns.join(turns)
        if (np.diff(turns.firsts) != 1).any():
            raise UserError("a conversation in text must have one turn of the user, the prompt; join its turns")
        prompts, rows = turns.lengths, len(turns.lengths)
        self._vocabulary, self._retriever, self._judge = tokens, retriever, judge
        self._limit = prompts + (np.iinfo(np.int32).max if max_new_tokens is None else max_new_tokens)
        self._tokens = np.zeros((rows, int(prompts.max(initial=0)) + ROOM), np.int32)
        self._author = np.zeros(self._tokens.shape, np.int8)
        self._length, self._certain = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
        self._answers = np.full((rows, 1), UNDECIDED, np.int32)
        self._searches, self._timeouts = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
        self._is_finished = np.zeros(rows, np.bool_)
        self._readers = []
        for row in range(rows):
            prompt = turns.tokens[turns.starts[row] : turns.starts[row + 1]]
            self._readers.append(TextReader(tokens, ending, tokens.text_of_prompt(prompt)))
            self._expect(row, prompt, Author.PROMPT)

    def __len__(self) -> int:
        return len(self._length)

    @property
    def is_finished(self) -> Flags:
        """Whether the answer has been given, the model has ended, or the token limit is reached, `(rows,)`."""
        return self._is_finished

    @property
    def num_certain(self) -> Places:
        """Number of forced tokens that come next, `(rows,)`."""
        return self._certain - self._length

    def step(self, choices: Places, live: Places | None = None) -> Places:
        """Add the next token to each row: a forced one, else the model's choice; see `Conversations.step`."""
        live = np.arange(len(self)) if live is None else live
        goes_on = ~self._is_finished[live]
        rows, taken = live[goes_on], np.full(len(live), PAD, np.int64)
        is_free = self._certain[rows] == self._length[rows]
        for row, choice in zip(rows[is_free].tolist(), choices[goes_on][is_free].tolist(), strict=True):
            self._write(row, choice)
        taken[goes_on] = self._tokens[rows, self._length[rows]]
        self._length[rows] += 1
        self._is_finished[rows] |= self._length[rows] >= self._limit[rows]
        return taken

    def write(self, row: int, words: Ids) -> None:
        """Write `words (time,)` as the model's tokens in a row; forced tokens that come before each are added first."""
        for word in words.tolist():
            self._length[row] = self._certain[row]
            if self._is_finished[row]:
                break
            self._write(row, word)
            self._length[row] += 1
            self._is_finished[row] |= self._length[row] >= self._limit[row]

    def replies(self) -> Replies:
        """The current state of the conversations as replies; an answer is RIGHT or WRONG."""
        longest = int(self._length.max(initial=0))
        is_taken = np.arange(longest) < self._length[:, None]
        return Replies(
            np.where(is_taken, self._tokens[:, :longest], PAD).astype(np.int32),
            np.where(is_taken, self._author[:, :longest], Author.PAD).astype(np.int8),
            self._length, self._answers, self._searches, self._timeouts,
        )  # fmt: skip

    def _write(self, row: int, token: int) -> None:
        """Queue a token of the model as the next one, and run the searches that it ends."""
        reader = self._readers[row]
        self._expect(row, np.array([token], np.int32), Author.MODEL)
        for query in reader.take(token):
            if self._retriever is None:
                continue
            self._expect(row, self._vocabulary.read(f"{self._search(row, query)}\n"), Author.RETRIEVER)
        if reader.answer is not None:
            is_right = self._judge is not None and self._judge(row, reader.answer)
            self._answers[row] = RIGHT if is_right else WRONG
        self._is_finished[row] |= reader.is_over

    def _search(self, row: int, query: str) -> str:
        """The result of a query."""
        self._searches[row] += 1
        try:
            found = self._retriever.search(query, self._readers[row].visible)
        except TimeoutError:
            self._timeouts[row] += 1
            return _FAILED
        if found is not None and not isinstance(found, str):
            raise UserError(
                f"search of {type(self._retriever).__name__} must return a text, or None where nothing matches, got "
                f"{found!r:.80}"
            )
        return found or _FAILED

    def _expect(self, row: int, tokens: Ids, author: Author) -> None:
        """Force tokens to come next."""
        start = int(self._certain[row])
        stop = self._certain[row] = start + len(tokens)
        if stop > self._tokens.shape[1]:
            more = ((0, 0), (0, int(stop)))
            self._tokens, self._author = np.pad(self._tokens, more), np.pad(self._author, more)
        self._tokens[row, start:stop], self._author[row, start:stop] = tokens, author
