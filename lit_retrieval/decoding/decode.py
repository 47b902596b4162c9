"""Decodes a task's transcripts with a model."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from lit_retrieval.conversation import Author, Conversations, Replies, TextConversations, Turns
from lit_retrieval.decoding.beside import answer_beside
from lit_retrieval.decoding.generate import DecodableModel, generate
from lit_retrieval.retrieval import Retriever
from lit_retrieval.tasks import Task, Transcripts
from lit_retrieval.vocabulary import PAD, Ids


def decode(
    model: DecodableModel,
    transcripts: Transcripts,
    task: Task,
    retriever: Retriever,
    max_new_tokens: int,
    device: torch.device | None = None,
) -> Replies:
    """Decode the model's part of each transcript greedily, with its searches run, or its answers beside the tokens.

    Args:
        model: The model.
        transcripts: Their user's turns and numbers of answers are used.
        task: The task of the transcripts.
        retriever: Runs the model's queries.
        max_new_tokens: Tokens that may follow a prompt, retrieved ones included.
        device: The model's device.

    Returns:
        The reply of each row, in order.
    """
    is_asked = (transcripts.author == Author.ASKED).any(1)
    if is_asked.all() and len(transcripts):
        return answer_beside(model, transcripts, len(task.vocabulary), device)
    if is_asked.any():
        parts = [np.flatnonzero(is_asked), np.flatnonzero(~is_asked)]
        return Replies.join(
            [(rows, decode(model, transcripts[rows], task, retriever, max_new_tokens, device)) for rows in parts]
        )
    turns = Turns.of(transcripts.tokens, transcripts.author)
    num_answers = (transcripts.answers != PAD).sum(1).tolist()
    return generate(model, task.converse(turns, retriever, max_new_tokens, num_answers, transcripts), device)


def begin(
    turns: Turns | Sequence[Iterable[Ids]],
    task: Task,
    retriever: Retriever,
    max_new_tokens: int,
    num_answers: Sequence[int] | None = None,
) -> Conversations | TextConversations:
    """New conversations for `generate`, one row per item of `turns`: the prompt, then what follows each answer.

    `num_answers` is the number of answers in each row, one per turn if absent; the other arguments are `decode`'s.
    """
    return task.converse(turns, retriever, max_new_tokens, num_answers)
