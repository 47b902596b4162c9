"""In-context RAG: a context and a query in, words of that context out. Knows no task and no model."""

from lit_retrieval.retrieval.context import Context
from lit_retrieval.retrieval.queries import to_regular_expression
from lit_retrieval.retrieval.retriever import (
    EitherFormRetriever,
    RegularExpressionRetriever,
    Retriever,
    ShortFormRetriever,
)

__all__ = [
    "Context", "EitherFormRetriever", "RegularExpressionRetriever", "Retriever", "ShortFormRetriever",
    "to_regular_expression",
]  # fmt: skip
