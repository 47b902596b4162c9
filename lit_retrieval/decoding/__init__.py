"""Greedy decoding with real searches: in each step every row gets one token, forced or the model's choice."""

from lit_retrieval.conversation import UNDECIDED, Conversation, Conversations, Replies, Reply
from lit_retrieval.decoding.decode import begin, decode
from lit_retrieval.decoding.generate import DecodableModel, generate, takes_several
from lit_retrieval.decoding.model_graphs import ModelGraphs
from lit_retrieval.decoding.rows_at_once import decode_in_parts
from lit_retrieval.renamed import take_old_names

__all__ = [
    "UNDECIDED", "Conversation", "Conversations", "DecodableModel", "ModelGraphs", "Replies", "Reply", "begin",
    "decode", "decode_in_parts", "generate", "takes_several",
]  # fmt: skip

__getattr__ = take_old_names(__name__, Session="Conversation")
