"""Conversations between a user, a model and a retriever: the rules by which data is written and models decode."""

from lit_retrieval.conversation.author import Author, Authors, Span, spans, users_one
from lit_retrieval.conversation.conversation import Conversation, Conversations
from lit_retrieval.conversation.reply import UNDECIDED, Replies, Reply, words_with_answers
from lit_retrieval.conversation.turns import Turns

__all__ = [
    "UNDECIDED", "Author", "Authors", "Conversation", "Conversations", "Replies", "Reply", "Span", "Turns", "spans",
    "users_one", "words_with_answers",
]  # fmt: skip
