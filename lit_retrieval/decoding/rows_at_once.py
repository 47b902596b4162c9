"""Chooses which rows are decoded together: their states fit into memory, and their prompts have similar lengths."""

from typing import Any, Protocol

import numpy as np
import torch

from lit_retrieval.conversation import Replies
from lit_retrieval.decoding.decode import decode
from lit_retrieval.decoding.generate import DecodableModel
from lit_retrieval.models import check_text
from lit_retrieval.ranges import memory_size
from lit_retrieval.retrieval import Retriever
from lit_retrieval.tasks import Task, Transcripts
from lit_retrieval.tasks.random import Counts

_FEW = 256  # rows that are decoded together whatever the memory: the default of data.eval_batch_size
_SHARE = 4  # of the memory, since states are copied when rows leave and when they grow


class Sized(Protocol):
    """A model that knows the size of its state."""

    def state_bits(self, length: int) -> int:
        """The bits of the state of one row after `length` tokens."""
        ...


def decode_in_parts(
    model: Any,
    transcripts: Transcripts,
    task: Task,
    retriever: Retriever,
    max_new_tokens: int,
    device: torch.device,
    decoder: DecodableModel | None = None,
) -> Replies:
    """Decode as `decode` does, but in parts if memory requires it or if it is faster.

    Warns if prompts are longer than the model's limit; see `models.check_text`.

    Args:
        model: A `DecodableModel` that is `Sized`, if there are more than 256 rows.
        transcripts, task, retriever, max_new_tokens, device: As for `decode`.
        decoder: Runs the model's steps; the model itself if absent.

    Returns:
        The reply of each row, in order.
    """
    lengths = transcripts.prompt_length.astype(np.int64)
    longest, given = int(lengths.max(initial=0)) + max_new_tokens, (task, retriever, max_new_tokens, device)
    check_text(model, longest - max_new_tokens, max_new_tokens)
    if not len(lengths):
        return decode(model, transcripts, *given)
    parts = parts_of_similar_prompts(lengths, rows_at_once(model, len(lengths), longest, device), max_new_tokens)
    return Replies.join([(part, decode(decoder or model, transcripts[part], *given)) for part in parts])


def rows_at_once(model: Sized, rows: int, length: int, device: torch.device) -> int:
    """Number of `rows` of up to `length` tokens whose states fit into a quarter of the memory, but at least 256."""
    if rows <= _FEW:
        return rows
    memory = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else memory_size()
    return min(rows, max(_FEW, 8 * memory // _SHARE // max(1, model.state_bits(length))))


def parts_of_similar_prompts(prompt_length: Counts, most: int, longest_reply: int) -> list[Counts]:
    """Split rows into parts of at most `most` rows, to be decoded one after the other.

    From the end of its shortest prompt on, a part takes one token per step. So prompts that exceed all shorter ones by
    more than the length of a reply take fewer steps in a separate part.

    Args:
        prompt_length: Tokens of the prompts, `(rows,)`.
        most: Largest number of rows in a part.
        longest_reply: Largest number of tokens in a reply.
    """
    order = np.argsort(prompt_length, kind="stable")
    far = np.flatnonzero(np.diff(prompt_length[order]) > longest_reply) + 1
    similar = [np.sort(part) for part in np.split(order, far)]
    return [part[start : start + most] for part in similar for start in range(0, len(part), most)]
