"""Decodes a task's transcripts with a model."""

from collections.abc import Iterable, Sequence

import torch

from lit_retrieval.conversation import Conversation, Reply
from lit_retrieval.decoding.generate import DecodableModel, generate
from lit_retrieval.retrieval import Retriever
from lit_retrieval.tasks import Task, Transcripts
from lit_retrieval.vocabulary import Ids


def decode(
    model: DecodableModel,
    transcripts: Transcripts,
    task: Task,
    retriever: Retriever,
    max_new_tokens: int,
    device: torch.device | None = None,
) -> list[Reply]:
    """Let a model write its part of each transcript, greedily, and run its searches.

    Args:
        model: The model.
        transcripts: The source of the user's turns, and of the number of answers.
        task: The task of the transcripts.
        retriever: Runs the model's queries.
        max_new_tokens: Tokens that may follow a prompt, retrieved ones included.
        device: The model's device.

    Returns:
        The reply of each row, in their order.
    """
    rows = range(len(transcripts))
    turns, counts = [transcripts.turns(row) for row in rows], [len(transcripts.answers_of(row)) for row in rows]
    return generate(model, begin(turns, task, retriever, max_new_tokens, counts), device)


def begin(
    turns: Sequence[Iterable[Ids]],
    task: Task,
    retriever: Retriever,
    max_new_tokens: int,
    num_answers: Sequence[int] | None = None,
) -> list[Conversation]:
    """New conversations for `generate`, each with its user's turns: the prompt, then what follows each answer.

    `num_answers` has the number of answers of each, one in each turn if absent; the other arguments are `decode`'s.
    """
    answer_tokens = frozenset(task.answer_words.tolist())
    counts: Sequence[int | None] = num_answers or [None] * len(turns)
    return [
        Conversation(said, answer_tokens, retriever, task.vocabulary, max_new_tokens, count)
        for said, count in zip(turns, counts, strict=True)
    ]
