"""Retrievers, which answer the queries of a transcript."""

import math
from copy import copy
from functools import lru_cache
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import regex

from lit_retrieval.ranges import check_above, check_numbers
from lit_retrieval.retrieval import short_form
from lit_retrieval.retrieval.queries import is_regular_expression, to_regular_expression
from lit_retrieval.vocabulary import FAILED, SPECIAL_WORDS, Ids, Vocabulary

_FAILED_WORD = SPECIAL_WORDS[FAILED]


class Retriever(Protocol):
    """The interface of a retriever. Your own may be a class or a function, named by its class_path."""

    # jsonargparse compares these types with those of the named class: `Any` matches each of them, and a missing one.
    def __call__(self, context: Any, query: Any, vocabulary: Any, /) -> Any:
        """Answer a query.

        Args:
            context: Token ids that the query may see, an int32 array `(time,)`; each earlier search is reduced to one
                token, `<EndSearch>`.
            query: Token ids between `<StartSearch>` and `<EndSearch>`, an int32 array `(tokens,)`.
            vocabulary: The words of the token ids, a `Vocabulary`.

        Returns:
            One or more token ids to insert into the transcript, an array of integers `(tokens,)`; FAILED if nothing
            matches. May raise `TimeoutError` if the search takes too long; FAILED is then inserted, and the time-out is
            counted.
        """
        ...


class ShortFormRetriever:
    """Answers queries in the short form by matching token ids, as in the training transcripts; others get FAILED."""

    def __call__(self, context: Ids, query: Ids, vocabulary: Vocabulary) -> Ids:
        """Answer a query; see `Retriever`."""
        return np.array([short_form.answer(context, query, vocabulary.numbers)], np.int32)


class AssociativeRecallRetriever:
    """Answers a query of one word with the word after its first occurrence; others get FAILED.

    Associative recall is too weak for an RNN to solve Index with it (arXiv:2402.18510, Proposition 5.1).
    """

    def __call__(self, context: Ids, query: Ids, vocabulary: Vocabulary) -> Ids:
        """Answer a query; see `Retriever`."""
        is_word = len(query) == 1 and not short_form.is_sign(query[0])
        return np.array([short_form.word_after(context, query) if is_word else FAILED], np.int32)


class RegularExpressionRetriever:
    """Runs every query as a regular expression on the words of the context, joined by single spaces.

    A query in the short form is translated first. A model may write any pattern; the result is FAILED if the pattern
    does not compile, exceeds a limit below, or matches text that is not in the vocabulary.

    Args:
        timeout: Largest processor time of one search, in seconds.
        max_length: Largest number of characters in a pattern.
        max_expanded: Largest number of characters in a pattern times all its counts `{k}`. This bounds the time to
            compile the pattern, which `timeout` does not. An Index query of 22 characters may count to 10,000.
    """

    def __init__(self, timeout: float = 0.1, max_length: int = 1000, max_expanded: int = 250_000) -> None:
        check_above("timeout", timeout, 0, "data.retriever...timeout")
        check_numbers("data.retriever..", max_length=(max_length, 1), max_expanded=(max_expanded, 1))
        self.timeout, self.max_length, self.max_expanded = timeout, max_length, max_expanded

    def __call__(self, context: Ids, query: Ids, vocabulary: Vocabulary) -> Ids:
        """Answer a query; see `Retriever`."""
        pattern = to_regular_expression(vocabulary.decode(query))
        found = self.search(pattern, " ".join(vocabulary.decode(context))) if pattern else None
        words = (found or _FAILED_WORD).split()
        return vocabulary.encode(words if words and all(word in vocabulary for word in words) else [_FAILED_WORD])

    def search(self, pattern: str, text: str) -> str | None:
        """The first participating group of the first match of `pattern` in `text`, or None; raises `TimeoutError`."""
        if len(pattern) > self.max_length or len(pattern) * _repetitions(pattern) > self.max_expanded:
            return None
        try:
            match = regex.search(pattern, text, timeout=self.timeout)
        except (regex.error, ValueError, OverflowError, RecursionError):
            return None
        return next((group for group in match.groups() if group is not None), None) if match else None


class EitherFormRetriever:
    """Answers queries in the short form by matching token ids, and all others as regular expressions.

    Args:
        expressions: The retriever for regular expressions.
    """

    def __init__(self, expressions: RegularExpressionRetriever | None = None) -> None:
        self._expressions = expressions or RegularExpressionRetriever()
        self._short_form = ShortFormRetriever()

    def __call__(self, context: Ids, query: Ids, vocabulary: Vocabulary) -> Ids:
        """Answer a query; see `Retriever`."""
        retriever = self._expressions if is_regular_expression(vocabulary.decode(query)) else self._short_form
        return retriever(context, query, vocabulary)

    def patient(self, timeout: float) -> Self:
        """A copy whose regular expressions may take at least this many seconds."""
        other = copy(self)
        other._expressions = copy(self._expressions)
        other._expressions.timeout = max(timeout, self._expressions.timeout)
        return other

    def search(self, pattern: str, text: str) -> str | None:
        """The result of the retriever for regular expressions, since text has no short form."""
        return self._expressions.search(pattern, text)


def short_words(retriever: Retriever | None, vocabulary: Vocabulary) -> npt.NDArray[np.bool_]:
    """The words for `short_form.answer` if it gives the same results as the retriever, `(vocab_size,)`.

    `(0,)` without a retriever, or if its class overrides `__call__` and so may find anything.
    """
    call = type(retriever).__call__
    if call is ShortFormRetriever.__call__:
        return np.ones(len(vocabulary), np.bool_)
    return _words_of_short_queries(vocabulary) if call is EitherFormRetriever.__call__ else np.zeros(0, np.bool_)


@lru_cache(maxsize=8)
def _words_of_short_queries(vocabulary: Vocabulary) -> npt.NDArray[np.bool_]:
    return np.array([not is_regular_expression([word]) for word in vocabulary.words])


def _repetitions(pattern: str) -> int:
    counts = regex.findall(r"\{\s*(\d*)\s*,?\s*(\d*)", pattern)
    return math.prod(max(1, int(least or 1), int(most or 1)) for least, most in counts)
