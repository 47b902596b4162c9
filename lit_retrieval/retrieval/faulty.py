"""A retriever that errs."""

from hashlib import blake2b
from typing import Literal, get_args

import numpy as np

from lit_retrieval.ranges import check_between, check_choice
from lit_retrieval.retrieval.retriever import EitherFormRetriever, Retriever
from lit_retrieval.vocabulary import FAILED, FIRST_WORD, Ids, Vocabulary

Fault = Literal["nothing", "wrong"]


class FaultyRetriever:
    """Answers a share of all queries wrongly, to see what a model makes of it; for `test`, as `data.retriever`.

    Whether it errs, and how, depends on the context and the query alone, so a test can be repeated.

    Args:
        rate: Share of the queries that are answered wrongly, 0 to 1.
        fault: What it then finds: `nothing` (FAILED), or a `wrong` word, any other word of the context.
        retriever: The retriever that would be right; EitherFormRetriever if absent.
    """

    def __init__(self, rate: float = 0.1, fault: Fault = "nothing", retriever: Retriever | None = None) -> None:
        check_between("rate", rate, 0, 1, "data.retriever.init_args.rate")
        check_choice("fault", fault, get_args(Fault), "data.retriever.init_args")
        self.rate = rate
        self.fault = fault
        self.retriever: Retriever = retriever or EitherFormRetriever()

    def __call__(self, context: Ids, query: Ids, vocabulary: Vocabulary) -> Ids:
        """Answer a query; see `Retriever`."""
        found: Ids = self.retriever(context, query, vocabulary)
        digest = blake2b(context.tobytes() + b"?" + query.tobytes(), digest_size=16).digest()
        share, choice = np.frombuffer(digest, "<u8").tolist()
        if share >= self.rate * 2**64:
            return found
        words = np.unique(context[(context >= FIRST_WORD) & ~np.isin(context, found)])
        if self.fault == "nothing" or not len(words):
            return np.array([FAILED], np.int32)
        return np.array([words[choice % len(words)]], np.int32)
