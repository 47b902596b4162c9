"""A retriever with faults."""

from collections.abc import Callable
from copy import copy
from hashlib import blake2b
from typing import Literal, Self, get_args

import numpy as np
import regex

from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_at_least, check_between, check_choice
from lit_retrieval.retrieval.passages import PassageRetriever
from lit_retrieval.retrieval.retriever import EitherFormRetriever, Retriever
from lit_retrieval.vocabulary import FAILED, FIRST_WORD, Ids, Vocabulary

Fault = Literal["nothing", "wrong", "late"]
_LAG = 8


class FaultyRetriever:
    """Answers a share of all queries wrongly, to test how a model handles errors; for `test`, as `data.retriever`.

    Whether a query is answered wrongly, and how, depends only on the context and the query, so a test can be repeated.

    Args:
        rate: Share of the queries that are answered wrongly, 0 to 1.
        fault: The wrong result: `nothing` (FAILED); `wrong`, another word of the context (for passages, another
            passage); or `late`, the result of an index that lacks the newest tokens.
        retriever: The retriever that gives the right results; the task's retriever if absent.
        lag: Tokens, or words of a text, that a `late` index lacks; 8 if absent.
    """

    def __init__(
        self, rate: float = 0.1, fault: Fault = "nothing", retriever: Retriever | None = None, lag: int | None = None
    ) -> None:
        check_between("rate", rate, 0, 1, "data.retriever.init_args.rate")
        check_choice("fault", fault, get_args(Fault), "data.retriever.init_args")
        check_at_least("lag", 1 if lag is None else lag, 1, "data.retriever.init_args.lag")
        if lag is not None and fault != "late":
            raise UserError("data.retriever.init_args.lag is for fault: late; leave it out, or set fault")
        self.rate = rate
        self.fault = fault
        self.lag = _LAG if lag is None else lag
        self._given = retriever
        self.retriever: Retriever = retriever or EitherFormRetriever()

    def around(self, retriever: Retriever) -> Self:
        """A copy that uses this retriever for the right results, unless it already has one."""
        other, inner = copy(self), self._given
        other.retriever = inner.around(retriever) if isinstance(inner, FaultyRetriever) else inner or retriever
        return other

    def __call__(self, context: Ids, query: Ids, vocabulary: Vocabulary) -> Ids:
        """Answer a query; see `Retriever`."""
        found: Ids = self.retriever(context, query, vocabulary)
        errs, choice = self._draw(context.tobytes() + b"?" + query.tobytes())
        if not errs:
            return found
        if self.fault == "late":
            late: Ids = self.retriever(context[: max(0, len(context) - self.lag)], query, vocabulary)
            return late
        words = np.unique(context[(context >= FIRST_WORD) & ~np.isin(context, found)])
        if self.fault == "nothing" or not len(words):
            return np.array([FAILED], np.int32)
        return np.array([words[choice % len(words)]], np.int32)

    @property
    def search(self) -> Callable[[str, str], str | None]:
        """The same for text; absent if the underlying retriever can't search text."""
        search: Callable[[str, str], str | None] = self.retriever.search  # type: ignore[attr-defined]

        def search_or_err(query: str, text: str) -> str | None:
            found = search(query, text)
            errs, choice = self._draw(f"{text}?{query}".encode())
            if not errs:
                return found
            if self.fault == "late":
                old, *new = text.rsplit(maxsplit=self.lag)
                return search(query, old if len(new) == self.lag else "")
            one = self.retriever
            pieces = one.passages(text) if isinstance(one, PassageRetriever) else regex.findall(r"\w+", text)
            others = sorted(set(pieces) - {found})
            return None if self.fault == "nothing" or not others else others[choice % len(others)]

        return search_or_err

    @property
    def _depth(self) -> int:
        """The number of faulty retrievers inside this one; each draws other random numbers."""
        return self.retriever._depth + 1 if isinstance(self.retriever, FaultyRetriever) else 0

    def _draw(self, searched: bytes) -> tuple[bool, int]:
        """Whether a search gets a wrong result, and a random number that selects it."""
        drawn_from = blake2b(searched, digest_size=16, salt=bytes([self._depth])).digest()
        share, choice = np.frombuffer(drawn_from, "<u8").tolist()
        return share < self.rate * 2**64, choice
