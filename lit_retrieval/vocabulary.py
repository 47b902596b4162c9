"""Words and their ids."""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lit_retrieval.errors import UserError

Ids = npt.NDArray[np.int32]

# Every vocabulary begins with these words, so their ids are constants that compiled code may use.
SPECIAL_WORDS = ("<pad>", "<s>", "?", "<StartSearch>", "<EndSearch>", "FAILED", "~", "-", "@", ">")
FIRST_WORD = len(SPECIAL_WORDS)  # the id of a task's first own word
MOST_WORDS = 1_000_000  # that a task's argument may ask for: more take minutes and gigabytes
PAD, START, ASK, START_SEARCH, END_SEARCH, FAILED, EDGE, PARENT, AT, MORE = range(FIRST_WORD)


def is_numeral(word: str) -> bool:
    """Whether the word is one to nine of the digits 0 to 9."""
    return word.isascii() and word.isdecimal() and len(word) <= 9


def read_word(word: str) -> tuple[str, int]:
    """The kind of a word and its number: (k, 5) for k5, (numeral, -7) for -7; any other word is a kind of its own."""
    if parts := re.fullmatch(r"([a-z]*)(-?[0-9]+)", word):
        return parts[1] or "numeral", int(parts[2])
    return word, 0


class Vocabulary:
    """The words of a task, each with its id.

    Ids 0 to 9 are the same in every vocabulary: `<pad>` fills the right end of a row, `<s>` opens a prompt, `?` ends
    its facts, `<StartSearch>` and `<EndSearch>` enclose a query, `FAILED` is the result of a search that found nothing,
    `~` joins the ends of an edge and `-` a parent with its child (arXiv:2402.18510, appendix A.3 and Algorithm 2), `@`
    and `>` ask for a position and for a number of occurrences in a query's short form.

    Args:
        words: The task's own words: distinct, without white space, none of them special.

    Attributes:
        separator: What stands between two words of a text.
        is_text: Whether it is the vocabulary of a tokenizer, `Tokens`, without these special words.
    """

    separator = " "
    is_text = False

    def __init__(self, words: Iterable[str]) -> None:
        if isinstance(words, set | frozenset):  # it gives its words another order, and so other ids, in each process
            raise UserError("words must be in an order, and a set has another one in each process; write sorted(...)")
        self.words: tuple[str, ...] = (*SPECIAL_WORDS, *words)
        self._ids = {word: token for token, word in enumerate(self.words)}
        if len(self._ids) < len(self.words):
            twice = next(word for token, word in enumerate(self.words) if self._ids[word] != token)
            raise UserError(f"the word {twice!r} is listed twice in the vocabulary; remove one")
        if spaced := [word for word in self.words if word.split() != [word]]:
            raise UserError(f"a word must be non-empty and without white space, got {spaced[0]!r}; write another")

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self._ids

    @cached_property
    def numbers(self) -> Ids:
        """The value of each word that is a numeral (of at most nine digits), else -1, `(vocab_size,)`."""
        return np.array([int(word) if is_numeral(word) else -1 for word in self.words], np.int32)

    @property
    def identity(self) -> tuple[str, ...]:
        """What hashes and manifests of samples have of it: its words."""
        return self.words

    def encode(self, words: Sequence[str]) -> Ids:
        """The ids of `words`, `(time,)`; raises `UserError` for a word that is not in the vocabulary."""
        try:
            return np.array([self._ids[word] for word in words], np.int32)
        except KeyError as error:
            raise UserError(f"{error.args[0]!r} is not one of the vocabulary's {len(self)} words") from None

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The words with these ids."""
        return [self.words[token] for token in ids]

    def text(self, ids: Iterable[int]) -> str:
        """The text of these ids."""
        return self.separator.join(self.decode(ids))

    def read(self, text: str) -> Ids:
        """The ids of a text, `(time,)`; raises `UserError` for a word that is not in the vocabulary."""
        return self.encode(text.split())

    def read_prompt(self, text: str) -> Ids:
        """The ids of a text that begins a conversation, `(time,)`."""
        return self.read(text)
