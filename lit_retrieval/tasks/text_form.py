"""Writes samples as few-shot prompts in plain text, to test any language model."""

import json
import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lit_retrieval import __version__
from lit_retrieval.conversation import Author
from lit_retrieval.errors import UserError
from lit_retrieval.files import write_atomically
from lit_retrieval.tasks.sample_file import check_free, manifest_path
from lit_retrieval.tasks.task import Regime, Task, Transcripts
from lit_retrieval.vocabulary import SPECIAL_WORDS, START

BLANK_LINE = "\n\n"


class Solved(NamedTuple):
    """A problem and its solution, in words.

    Args:
        prompt: All words before the reply, as a model that was trained on the task reads them.
        problem: The same without `<s>`.
        steps: The words of the reply before its last answers; empty except in `cot`.
        answers: The answers of the reply.
        size: Size of the problem.
        kind: The name of its kind; None for a task of one kind.
    """

    prompt: str
    problem: str
    steps: str
    answers: list[str]
    size: int
    kind: str | None


def solve(task: Task, transcripts: Transcripts) -> Iterator[Solved]:
    """The problem of each transcript: its first turn, or the last question if answers are beside the words."""
    is_answer = np.zeros(len(task.vocabulary), np.bool_)
    is_answer[task.answer_words] = True
    for row, length in enumerate(transcripts.length.tolist()):
        tokens, asked = transcripts.tokens[row, :length], np.flatnonzero(transcripts.author[row] == Author.ASKED)
        if len(asked):
            start, reply = int(asked[-1]), np.array(transcripts.answers_of(row)[-1:])
        else:
            start, stop = next(
                (span.start, span.stop) for span in transcripts.spans(row) if span.author == Author.MODEL
            )
            reply = tokens[start:stop]
        steps = reply[: 1 + np.flatnonzero(~is_answer[reply]).max(initial=-1)]
        words = [task.vocabulary.decode(part) for part in (tokens[:start], steps, reply[is_answer[reply]])]
        problem = " ".join(word for word in words[0] if word != SPECIAL_WORDS[START])
        kind = task.kinds[transcripts.kinds[row]] if task.kinds else None
        yield Solved(" ".join(words[0]), problem, " ".join(words[1]), words[2], int(transcripts.sizes[row]), kind)


def about(task: Task) -> str:
    """The first line of the task's docstring, without the references in its last parentheses."""
    first, *_ = (type(task).__doc__ or "").strip().split("\n")
    return re.sub(r"\s*\([^()]*\)\.?$", "", first)


def few_shot(task: Task, regime: Regime, problem: Solved, shots: Iterable[Solved]) -> dict[str, Any]:
    """A prompt with solved problems and a new one, the right completion, and its answers."""
    shown = [question(shot.problem, regime) + _completion(shot, regime) for shot in shots]
    prompt = BLANK_LINE.join(filter(None, [about(task), *shown, question(problem.problem, regime)]))
    known = {"answers": problem.answers, "size": problem.size, "kind": problem.kind}
    return {"prompt": prompt, "completion": _completion(problem, regime), **known}


def check_text_regime(regime: Regime) -> None:
    """Raise `UserError` for `retrieval`: a language model that completes a prompt has no search engine."""
    if regime == "retrieval":
        raise UserError("regime must be vanilla or cot for prompts in text, got 'retrieval'; set data.regime")


def save_text(
    path: Path, task: Task, batches: Iterable[tuple[Transcripts, Transcripts | None]], manifest: dict[str, Any],
    overwrite: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Write a prompt on each line of a .jsonl file, and their manifest to `path.manifest.json`.

    Raises `UserError` for a suffix other than .jsonl, and for an existing file unless `overwrite`.

    Args:
        path: The file.
        task: The task.
        batches: Samples to ask for, and the solved samples before them, the same number for each, one after the other;
            None for no solved samples.
        manifest: The `regime`, and any other entries; the version of this package and a sha256 are added.
        overwrite: Replace an existing file.

    Returns:
        The complete manifest.
    """
    if path.suffix != ".jsonl":
        raise UserError(f"the suffix must be .jsonl for prompts in text, got {path}; write another name")
    check_free(path, manifest_path(path), overwrite=overwrite)
    digest, index = sha256(), 0
    with write_atomically(manifest_path(path)) as manifest_file, write_atomically(path, "wb") as file:
        for asked, shown in batches:
            problems, shots = list(solve(task, asked)), list(solve(task, shown)) if shown else []
            each = len(shots) // len(problems)
            for number, problem in enumerate(problems):
                sample = few_shot(task, manifest["regime"], problem, shots[number * each : (number + 1) * each])
                line = json.dumps({"index": index, **sample}).encode() + b"\n"
                file.write(line)
                digest.update(line)
                index += 1
        whole = {**manifest, "form": "text", "version": __version__, "samples": index, "sha256": digest.hexdigest()}
        manifest_file.write(json.dumps(whole, indent=2) + "\n")
    return whole


def question(problem: str, regime: Regime) -> str:
    """The text that asks for the solution of a problem."""
    return f"Problem: {problem}\n{'Steps' if regime == 'cot' else 'Answer'}:"


def _completion(solved: Solved, regime: Regime) -> str:
    steps = [f" {solved.steps}".rstrip() + "\nAnswer:"] if regime == "cot" else []
    return "".join([*steps, " ", " ".join(solved.answers)])
