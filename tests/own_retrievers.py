"""Retrievers as users write them, with annotations and without, and two that can't be called."""

from typing import Any

import numpy as np
import numpy.typing as npt

from lit_retrieval.retrieval import Retriever, ShortFormRetriever
from lit_retrieval.vocabulary import Vocabulary


class Bare:
    def __call__(self, context, query, vocabulary):  # type: ignore[no-untyped-def]
        return context[:1]


class Arrays:
    def __init__(self, count: int = 1) -> None:
        self.count = count

    def __call__(self, context: np.ndarray, query: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:  # type: ignore[type-arg]
        return context[: self.count]


class Exact:
    def __call__(
        self, context: npt.NDArray[np.int32], query: npt.NDArray[np.int32], vocabulary: Vocabulary
    ) -> npt.NDArray[np.int32]:
        return context[:1]


class Derived(Retriever):
    def __call__(self, context, query, vocabulary):  # type: ignore[no-untyped-def]
        return context[:1]


class Renamed:
    def __call__(self, seen: Any, asked: Any, words: Any) -> Any:
        return seen[:1]


class Inherited(ShortFormRetriever):
    pass


def function(context, query, vocabulary):  # type: ignore[no-untyped-def]
    return context[:1]


class TwoArguments:
    def __call__(self, context: Any, query: Any) -> Any:
        return context[:1]


class NotCallable:
    pass
