"""Decoding with the search in the loop: every row takes one token a step, chosen by the model or forced on it."""

import warnings
from typing import Any

from lit_retrieval.conversation import UNDECIDED, Conversation, Reply
from lit_retrieval.decoding.decode import begin, decode
from lit_retrieval.decoding.generate import DecodableModel, generate

__all__ = ["UNDECIDED", "Conversation", "DecodableModel", "Reply", "begin", "decode", "generate"]


def __getattr__(name: str) -> Any:
    if name != "Session":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("lit_retrieval.decoding.Session is now called Conversation", DeprecationWarning, stacklevel=2)
    return Conversation
