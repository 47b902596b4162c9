"""Retrievers: what runs a query."""

from typing import Protocol

import numpy as np
import regex

from lit_retrieval.ranges import check_above, check_numbers
from lit_retrieval.retrieval import short_form
from lit_retrieval.retrieval.queries import is_regular_expression, to_regular_expression
from lit_retrieval.vocabulary import FAILED, SPECIAL_WORDS, Ids, Vocabulary

_FAILED_WORD = SPECIAL_WORDS[FAILED]


class Retriever(Protocol):
    """Anything that answers a query about a context; a user's own is named by class_path."""

    def __call__(self, context: Ids, query: Ids, vocabulary: Vocabulary) -> Ids:
        """Search.

        Args:
            context: Ids that the query may see, `(time,)` (`Context.visible`).
            query: Ids between `<StartSearch>` and `<EndSearch>`, `(words,)`.
            vocabulary: The words behind the ids.

        Returns:
            The ids to put into the transcript, `(words,)`, at least one: FAILED where nothing matches. Raises
            `TimeoutError` if the search takes too long; the transcript then says FAILED, and the score counts it.
        """
        ...


class ShortFormRetriever:
    """Answers queries in the short form by matching ids, the way the training transcripts were written.

    Whatever is not in the short form finds nothing.
    """

    def __call__(self, context: Ids, query: Ids, vocabulary: Vocabulary) -> Ids:
        """Search; see `Retriever`."""
        return np.array([short_form.answer(context, query, vocabulary.numbers)], np.int32)


class RegularExpressionRetriever:
    """Runs every query as a regular expression on the words of the context, joined by single spaces.

    A query in the short form is translated first. A model may write any pattern, so each is bounded: one that does not
    compile, is too long, grows too large, runs out of time or returns what are no words of the vocabulary has FAILED.

    Args:
        timeout: Seconds for one search, of processor time.
        max_length: Characters in a pattern.
        max_expanded: Characters in a pattern times all its counts `{k}`: a bound on the time to compile it, which no
            clock ends. The pattern of Index, of 22 characters, may count to 10,000.
    """

    def __init__(self, timeout: float = 0.1, max_length: int = 1000, max_expanded: int = 250_000) -> None:
        check_above("timeout", timeout, 0, "data.retriever...timeout")
        check_numbers("data.retriever..", max_length=(max_length, 1), max_expanded=(max_expanded, 1))
        self.timeout = timeout
        self.max_length = max_length
        self.max_expanded = max_expanded

    def __call__(self, context: Ids, query: Ids, vocabulary: Vocabulary) -> Ids:
        """Search; see `Retriever`."""
        pattern = to_regular_expression(vocabulary.decode(query))
        found = self.search(pattern, " ".join(vocabulary.decode(context))) if pattern else None
        words = (found or _FAILED_WORD).split()
        return vocabulary.encode(words if words and all(word in vocabulary for word in words) else [_FAILED_WORD])

    def search(self, pattern: str, text: str) -> str | None:
        """The first group that took part in the first match of `pattern` in `text`; None if there is none.

        Raises `TimeoutError` when the time is up.
        """
        if len(pattern) > self.max_length or len(pattern) * _repetitions(pattern) > self.max_expanded:
            return None
        try:
            match = regex.search(pattern, text, timeout=self.timeout)
        except (regex.error, OverflowError, RecursionError):
            return None
        return next((group for group in match.groups() if group is not None), None) if match else None


class EitherFormRetriever:
    """Matches a query in the short form on ids, and runs any other as a regular expression.

    Args:
        expressions: What runs the regular expressions.
    """

    def __init__(self, expressions: RegularExpressionRetriever | None = None) -> None:
        self._expressions = expressions or RegularExpressionRetriever()
        self._short_form = ShortFormRetriever()

    def __call__(self, context: Ids, query: Ids, vocabulary: Vocabulary) -> Ids:
        """Search; see `Retriever`."""
        retriever = self._expressions if is_regular_expression(vocabulary.decode(query)) else self._short_form
        return retriever(context, query, vocabulary)


def _repetitions(pattern: str) -> int:
    product = 1
    for counts in regex.findall(r"\{\s*(\d*)\s*,?\s*(\d*)", pattern):
        product *= max(1, *(int(count) for count in counts if count), 1)
    return product
