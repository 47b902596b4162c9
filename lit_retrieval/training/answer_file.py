"""Writes the answers of a test in text, one by one."""

import json
from pathlib import Path
from typing import Any

from lit_retrieval.conversation import RIGHT, Replies
from lit_retrieval.data import Batch
from lit_retrieval.files import write_atomically
from lit_retrieval.tasks.text import TextTask
from lit_retrieval.tasks.text.answers import f1
from lit_retrieval.training.sample_callback import SampleCallback
from lit_retrieval.training.sequence_module import SequenceModule

NAME = "answers.jsonl"


class AnswerFile(SampleCallback):
    """Writes `answers.jsonl` into the run's folder when `test` ends, for tasks in text: one object per sample.

    Keys: `id` (the task's, or the index in data.test_file), for HotpotQA `order`, the size `n`, the model's `answer`
    (null if none), the `right` one, `em` (whether they match), `f1` by HotpotQA's rule, and the number of `searches`.
    """

    def keep(self, module: SequenceModule, batch: Batch, replies: Replies, indices: list[int]) -> list[Any]:
        """One object for each sample of a batch."""
        data = module.data
        if not isinstance(task := data.task, TextTask):
            return []
        right, stream, answers = batch.transcripts(), data.stream("test"), []
        for row, (index, reply) in enumerate(zip(indices, replies, strict=True)):
            given, true = task.answer_texts(reply)[0], task.answer_texts(right.reply(row))[0]
            about = {"id": index} if data.tests_on_file else stream.about(index)
            answers.append(
                {
                    **about, "n": int(batch.sizes[row]), "answer": given, "right": true,
                    "em": int(reply.answers == [RIGHT]), "f1": f1(given or "", true or ""),
                    "searches": reply.num_searches,
                }
            )  # fmt: skip
        return answers

    def write(self, folder: Path, kept: list[Any]) -> None:
        """Write the file."""
        with write_atomically(folder / NAME) as file:
            file.writelines(f"{json.dumps(answer)}\n" for answer in kept)
