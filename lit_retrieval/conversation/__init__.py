"""Conversations between a user, a model and a retriever: the rules by which data is written and models decode."""

from lit_retrieval.conversation.author import Author, Authors, Span, asked_as_prompt, spans
from lit_retrieval.conversation.conversation import Conversation, Conversations
from lit_retrieval.conversation.reply import UNDECIDED, Replies, Reply, words_with_answers
from lit_retrieval.conversation.turns import Turns

__all__ = [
    "UNDECIDED",
    "Author",
    "Authors",
    "Conversation",
    "Conversations",
    "Replies",
    "Reply",
    "Span",
    "Turns",
    "asked_as_prompt",
    "spans",
    "words_with_answers",
]  # fmt: skip
