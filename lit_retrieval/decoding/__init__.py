"""Decoding with the search in the loop: every row takes one token a step, chosen by the model or forced on it."""

from lit_retrieval.conversation import UNDECIDED, Conversation, Reply
from lit_retrieval.decoding.decode import begin, decode
from lit_retrieval.decoding.generate import DecodableModel, generate
from lit_retrieval.renamed import take_old_names

__all__ = ["UNDECIDED", "Conversation", "DecodableModel", "Reply", "begin", "decode", "generate"]

__getattr__ = take_old_names(__name__, Session="Conversation")
