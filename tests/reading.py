"""Transcripts as people read them, for the tests of tasks."""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from lit_retrieval.tasks import REGIMES, Author, Regime, Task, Transcripts
from lit_retrieval.tasks.text import Dialogue, TextTask

Reply = list[tuple[str, int]]  # words with their authors


def read(transcripts: Transcripts, task: Task, row: int) -> tuple[list[str], list[int]]:
    """The words of a row, and who wrote each."""
    length = transcripts.length[row]
    return task.vocabulary.decode(transcripts.tokens[row, :length]), transcripts.author[row, :length].tolist()


def read_all(transcripts: Transcripts, task: Task) -> Iterator[tuple[list[str], Reply]]:
    """For each row the words of its prompt, and what follows it: words with their authors."""
    for row, prompt_length in enumerate(transcripts.prompt_length):
        words, authors = read(transcripts, task, row)
        assert set(authors[:prompt_length]) == {Author.PROMPT} and authors[prompt_length] == Author.MODEL
        yield words[:prompt_length], list(zip(words, authors, strict=True))[prompt_length:]


def text_of(transcripts: Transcripts, task: Task, row: int) -> str:
    """A row as one line, what the retriever wrote in brackets, and answers that are not written in braces."""
    answers, parts = iter(task.vocabulary.decode(transcripts.answers[row])), []
    for word, by in zip(*read(transcripts, task, row), strict=True):
        before = f"{{{next(answers)}}} " if by == Author.ASKED else ""
        parts.append(f"[{word}]" if by == Author.RETRIEVER else before + word)
    return " ".join(parts)


def reply_of(task: TextTask, dialogue: Dialogue) -> str:
    """The reply of a dialogue in text, what its searches find in brackets, without a tokenizer."""
    retriever: Any = task.retriever
    visible, parts = dialogue.prompt, []
    for piece in re.split("(?<=<EndSearch>)", dialogue.reply):
        said, start, query = piece.removesuffix("<EndSearch>").partition("<StartSearch>")
        found = retriever.search(query, visible + said) if start else None
        visible += said + "<EndSearch>" * bool(start)
        parts.append(f"{piece}[{found}]\n" if start else piece)
    return "".join(parts)


def check_bounds(task: Task, size: int, regime: Regime, count: int = 2000) -> npt.NDArray[np.int64]:
    """The replies keep to the task's bounds, and the shortest and longest are near them where length is random."""
    transcripts = task.sample(0, np.arange(count), np.full(count, size), regime)
    replies = transcripts.length - transcripts.prompt_length
    assert task.shortest_reply(regime) <= replies.min() and replies.max() <= task.longest_reply(size, regime)
    assert transcripts.distances.max() <= task.longest_distance(size, regime)
    return np.asarray(replies)


def check_docstring(cls: type[Task], expected_reply: Callable[[list[str], Regime], Reply]) -> None:
    """The sample in a task's docstring is what the second solver writes, in all of its regimes."""
    shown: dict[str, list[str]] = {}
    line = None
    for words in map(str.split, (inspect.getdoc(cls) or "").splitlines()):
        line = words[0][:-1] if words and words[0] in {"prompt:", *(f"{regime}:" for regime in REGIMES)} else line
        if words and line:
            shown.setdefault(line, []).extend(words[1:] if words[0] == f"{line}:" else words)
        elif not words:
            line = None
    for regime in cls.regimes:
        reply = expected_reply(shown["prompt"], regime)
        assert shown[regime] == [f"[{word}]" if by == Author.RETRIEVER else word for word, by in reply]
