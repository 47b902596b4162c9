"""Finds searches and the answer in a model's text, even where they begin or end inside a token."""

import re
from collections.abc import Iterator
from typing import Protocol

from lit_retrieval.tokens import Tokens
from lit_retrieval.vocabulary import END_SEARCH, SPECIAL_WORDS, START_SEARCH

START, END = SPECIAL_WORDS[START_SEARCH], SPECIAL_WORDS[END_SEARCH]


class Ending(Protocol):
    """Finds the answer that ends a reply."""

    def find(self, text: str, new: int, is_whole: bool) -> str | None:
        """The answer in a text; None if there is none so far.

        Args:
            text: What the model has written since its last search.
            new: Start of the part that is new since the last call.
            is_whole: Whether the model has ended its text.
        """
        ...


class AnswerLine:
    r"""Finds the answer in the first complete line that matches a pattern; the end of the text also ends a line.

    Args:
        pattern: A regular expression, such as `^Answer: ?(.*)`; its first group is the answer.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = re.compile(pattern)

    def find(self, text: str, new: int, is_whole: bool) -> str | None:
        """The answer; see `Ending`."""
        if not is_whole and "\n" not in text[new:]:
            return None
        lines = text[text.rfind("\n", 0, new) + 1 :].split("\n")
        matches = (self._pattern.search(line) for line in (lines if is_whole else lines[:-1]))
        return next((str(match[1]).strip() for match in matches if match), None)


class TextReader:
    """Reads a conversation in text, token by token, by the rules of `Conversations` for words.

    A query sees the prompt and the model's text outside of searches; each earlier search is reduced to one
    `<EndSearch>`. A second `<StartSearch>` turns the unfinished query before it into plain text; an `<EndSearch>`
    without a `<StartSearch>` ends an empty query. An answer inside an unfinished query does not count.

    Args:
        tokens: The tokenizer.
        ending: Finds the answer.
        prompt: The user's text; searches in it are not visible to queries either.

    Attributes:
        answer: The model's answer; None before it.
        is_over: Whether the model has answered, or has ended its text without an answer.
    """

    def __init__(self, tokens: Tokens, ending: Ending, prompt: str = "") -> None:
        self._tokens, self._ending = tokens, ending
        self._stream = tokens.stream()
        self._visible: list[str] = []
        self._text, self._is_query = "", False  # what follows the last mark, and whether that is <StartSearch>
        self.answer: str | None = None
        self.is_over = False
        list(self._cut(prompt, is_model=False))
        if not self._is_query:
            self._see()

    @property
    def visible(self) -> str:
        """The text that a query may see."""
        return "".join(self._visible)

    def take(self, token: int) -> Iterator[str]:
        """Read a token of the model; yields each query that it ends, while `visible` is the text for that query."""
        if token in self._tokens.ends:
            yield from self._cut(self._stream.rest(), is_model=True)
            self._find_answer(len(self._text), is_whole=True)
            self.is_over = True
        elif piece := self._stream.take(token):
            yield from self._cut(piece, is_model=True)

    def _cut(self, piece: str, is_model: bool) -> Iterator[str]:
        """Read a piece of text of the model or of the user, from mark to mark."""
        new = len(self._text)
        self._text += piece
        while found := self._next_mark(new):
            mark, at = found
            rest = self._text[at + len(mark) :]
            self._text = self._text[:at]
            if is_model and self._find_answer(new, is_whole=False):
                return
            ends_query = mark == END
            query = self._text.strip() if self._is_query and ends_query else ""
            if not (self._is_query and ends_query):
                self._see()
            if ends_query and is_model:
                yield query
                self._visible.append(END)
                self._stream = self._tokens.stream()  # the model goes on after what has been found
            self._text, self._is_query, new = rest, not ends_query, 0
        if is_model:
            self._find_answer(new, is_whole=False)

    def _next_mark(self, new: int) -> tuple[str, int] | None:
        """The next mark that ends at or after a position of the text, and where it begins; None if there is none."""
        places = {mark: self._text.find(mark, max(0, new - len(mark) + 1)) for mark in (START, END)}
        found = [(at, mark) for mark, at in places.items() if at >= 0]
        return (min(found)[1], min(found)[0]) if found else None

    def _find_answer(self, new: int, is_whole: bool) -> bool:
        """Look for the answer in the text, unless the text is a query; returns whether it was found."""
        if not self._is_query:
            self.answer = self._ending.find(self._text, min(new, len(self._text)), is_whole)
            self.is_over = self.answer is not None
        return self.is_over

    def _see(self) -> None:
        """Make a text visible to queries."""
        self._visible.append(self._text)
        self._text = ""
