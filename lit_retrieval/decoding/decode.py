"""A model's part of a task's conversations."""

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
    """Let a model write its own part of each transcript, greedily, with its searches run.

    Args:
        model: The model.
        transcripts: What the user writes is taken from them, and how many answers are asked for.
        task: What the transcripts are about.
        retriever: Runs the model's queries.
        max_new_tokens: Tokens that may follow a prompt, retrieved ones included; one number for all rows.
        device: Where the model is.

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
    """Conversations in which nothing has been said yet, for `generate`.

    Args:
        turns: For each conversation what the user writes: the prompt, then what follows each answer.
        task: What they are about.
        retriever: Runs the model's queries.
        max_new_tokens: Tokens that may follow a prompt, retrieved ones included.
        num_answers: How many answers each asks for; one in each turn if absent.
    """
    answer_tokens = frozenset(task.answer_words.tolist())
    counts: Sequence[int | None] = num_answers or [None] * len(turns)
    return [
        Conversation(said, answer_tokens, retriever, task.vocabulary, max_new_tokens, count)
        for said, count in zip(turns, counts, strict=True)
    ]
