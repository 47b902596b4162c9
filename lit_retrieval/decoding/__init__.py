"""Decoding with the search in the loop: every row takes one word a step, chosen by the model or forced on it."""

from lit_retrieval.decoding.generate import DecodableModel, generate
from lit_retrieval.decoding.session import Reply, Session

__all__ = ["DecodableModel", "Reply", "Session", "generate"]
