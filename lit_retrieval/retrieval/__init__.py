"""In-context search: retrievers answer a query with tokens of its context, for any task or model."""

from lit_retrieval.retrieval.faulty import FaultyRetriever
from lit_retrieval.retrieval.passages import PassageRetriever
from lit_retrieval.retrieval.queries import to_regular_expression
from lit_retrieval.retrieval.retriever import (
    AssociativeRecallRetriever,
    EitherFormRetriever,
    RegularExpressionRetriever,
    Retriever,
    ShortFormRetriever,
    short_words,
)

__all__ = [
    "AssociativeRecallRetriever", "EitherFormRetriever", "FaultyRetriever", "PassageRetriever",
    "RegularExpressionRetriever", "Retriever", "ShortFormRetriever", "short_words", "to_regular_expression",
]  # fmt: skip
