"""Conversations between a user, a model and a retriever: the same rules for writing data and for decoding."""

from lit_retrieval.conversation.author import Author, Authors, Span, asked_as_prompt, spans
from lit_retrieval.conversation.conversation import Conversation, Conversations
from lit_retrieval.conversation.reply import UNDECIDED, Replies, Reply, words_with_answers
from lit_retrieval.conversation.text_conversations import RIGHT, WRONG, TextConversations
from lit_retrieval.conversation.text_reader import AnswerLine, Ending, TextReader
from lit_retrieval.conversation.turns import Turns

__all__ = [
    "RIGHT",
    "UNDECIDED",
    "WRONG",
    "AnswerLine",
    "Author",
    "Authors",
    "Conversation",
    "Conversations",
    "Ending",
    "Replies",
    "Reply",
    "Span",
    "TextConversations",
    "TextReader",
    "Turns",
    "asked_as_prompt",
    "spans",
    "words_with_answers",
]  # fmt: skip
